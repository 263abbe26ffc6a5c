"""Where a provider's page sends the payer back to: GET or POST /return/{payment reference}.

What comes in the query or the body is a browser's word, and nobody reads it. The gateway is asked
what is true; then the payer goes on to the shop, or sees it here.

The reference has 40 random bits and is seen by other eyes than the payer's, so the page holds what
is of no use to a stranger: how it stands, how much it was, and the shop's own order number. No
name, no phone number, no description, and nothing of how it was paid.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dusangire import failures
from dusangire.core import Core
from dusangire.database import LOST
from dusangire.errors import Retryable
from dusangire.gateway import FailureCode
from dusangire.languages import in_language
from dusangire.lifecycle import PaymentStatus
from dusangire.masking import mask_text
from dusangire.records import Payment
from dusangire.returning import PATIENCE, Returned, come_back, find
from dusangire_server.limits import Limits, Rates
from dusangire_server.pages import chosen_language, page

log = structlog.get_logger(__name__)

# Seconds until an undecided page looks again. After about five minutes it waits to be told to.
AGAIN = (2, 5, *(15,) * 18)

_STATES = {
    PaymentStatus.CREATED: "waiting",
    PaymentStatus.PENDING: "waiting",
    PaymentStatus.SUCCEEDED: "paid",
    PaymentStatus.PARTIALLY_REFUNDED: "paid",
    PaymentStatus.REFUNDED: "refunded",
    PaymentStatus.FAILED: "unpaid",
    PaymentStatus.EXPIRED: "unpaid",
    PaymentStatus.CANCELLED: "unpaid",
}


@dataclass(slots=True)
class Returns:
    """The route. patience: seconds that a payer waits for a gateway's answer."""

    core: Core
    limits: Limits
    patience: float = PATIENCE
    rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.rates = Rates(self.limits)

    async def answer(self, request: Request) -> Response:
        query = request.query_params
        language = chosen_language(query.get("lang"), request.headers.get("accept-language", ""))
        address = request.client.host if request.client else ""
        if not self.rates.take_address(address):
            return _notice("busy", language, 429, retry_after=1)
        reference = request.path_params["reference"]
        try:
            # Whoever only looks whether there is something here does not make us ask.
            looks = request.method == "HEAD"
            known = await (find(reference) if looks else self._known(request, reference))
        except (Retryable, *LOST):
            return _notice("away", language, 503, retry_after=5)
        if known is None:
            log.info("return of nobody we know")
            return _notice("nobody", language, 404)
        if known.return_url is not None:
            return RedirectResponse(_with_payment(known.return_url, known.payment), 303)
        if request.method == "POST":
            # As a GET, so that looking again posts nothing again.
            return RedirectResponse(known.payment.reference, 303)
        return _result(known.payment, language, _count(query.get("n")))

    async def _known(self, request: Request, reference: str) -> Returned | None:
        if request.method == "POST":
            known = await find(reference)
            if known is None or known.return_url is None:
                return known
        return await come_back(self.core, reference, patience=self.patience)


def _with_payment(return_url: str, payment: Payment) -> str:
    """The shop's address with our ids, and without a status: whoever gets them asks for it."""
    parts = urlsplit(return_url)
    ours = urlencode({"payment": payment.id, "reference": payment.reference})
    query = f"{parts.query}&{ours}" if parts.query else ours
    return urlunsplit(parts._replace(query=query))


def _count(text: str | None) -> int:
    """How often the page has looked again by itself."""
    return int(text) if text and re.fullmatch("[0-9]{1,3}", text) else 0


# ── what the payer sees ──────────────────────────────────────────────────────────────────────────

_TITLES = {
    "paid": {"rw": "Byishyuwe", "en": "Paid", "fr": "Payé"},
    "waiting": {
        "rw": "Turacyagenzura",
        "en": "Not confirmed yet",
        "fr": "Pas encore confirmé",
    },
    "refunded": {"rw": "Byasubijwe", "en": "Refunded", "fr": "Remboursé"},
    "unpaid": {"rw": "Ntibyishyuwe", "en": "Not paid", "fr": "Non payé"},
    "nobody": {
        "rw": "Nta bwishyu bubonetse",
        "en": "No such payment",
        "fr": "Paiement introuvable",
    },
    "busy": {"rw": "Tegereza gato", "en": "One moment", "fr": "Un instant"},
    "away": {"rw": "Tegereza gato", "en": "One moment", "fr": "Un instant"},
}
_TEXTS = {
    "paid": {
        "rw": "Murakoze. Ubwishyu bwanyu bwakiriwe. Mushobora gufunga iyi paji.",
        "en": "Thank you. Your payment has arrived. You can close this page.",
        "fr": "Merci. Votre paiement est arrivé. Vous pouvez fermer cette page.",
    },
    "waiting": {
        "rw": "Turacyategereje ko ubwishyu bwanyu bwemezwa. Ntimwongere kwishyura.",
        "en": "We are waiting for your payment to be confirmed. Please do not pay again.",
        "fr": "Nous attendons la confirmation de votre paiement. Ne payez pas une seconde fois.",
    },
    "refunded": {
        "rw": "Amafaranga mwishyuye yarasubijwe.",
        "en": "The money that you paid was given back.",
        "fr": "La somme que vous avez payée a été remboursée.",
    },
    "nobody": {
        "rw": "Mugenzure aderesi, cyangwa mubaze umucuruzi.",
        "en": "Please check the address, or ask the shop.",
        "fr": "Vérifiez l'adresse ou contactez le vendeur.",
    },
    "busy": {
        "rw": "Hari abantu benshi. Iyi paji irongera kugerageza.",
        "en": "Many people are here. This page tries again by itself.",
        "fr": "Il y a beaucoup de monde. Cette page réessaie d'elle-même.",
    },
    "away": {
        "rw": "Ntidushoboye kubigenzura ubu. Ntimwongere kwishyura. Iyi paji irongera kugerageza.",
        "en": "We cannot look it up this moment. Please do not pay again. This page tries again "
        "by itself.",
        "fr": "Impossible de vérifier pour le moment. Ne payez pas une seconde fois. Cette page "
        "réessaie d'elle-même.",
    },
}
_LOOKING = {
    "rw": "Iyi paji irongera kugenzura ubwayo.",
    "en": "This page looks again by itself.",
    "fr": "Cette page vérifie de nouveau d'elle-même.",
}
_RESTING = {
    "rw": "Bishobora gufata igihe. Umucuruzi azabimenyeshwa nibyemezwa.",
    "en": "This can take a while. The shop is told when it is confirmed.",
    "fr": "Cela peut prendre du temps. Le vendeur sera prévenu dès la confirmation.",
}
_LOOK = {"rw": "Ongera ugenzure", "en": "Look again", "fr": "Vérifier de nouveau"}
_AMOUNT = {"rw": "Amafaranga", "en": "Amount", "fr": "Montant"}
_ORDER = {"rw": "Komande", "en": "Order", "fr": "Commande"}
_PAYMENT = {"rw": "Ubwishyu", "en": "Payment", "fr": "Paiement"}
_SIGNS = {"paid": "✓", "refunded": "↩", "unpaid": "✕", "nobody": "?"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """The page loads itself after so many seconds, for the `next`th time."""

    after: int
    next: int


def _result(payment: Payment, language: str, count: int) -> Response:
    state = _STATES[payment.status]
    again = None
    if state == "waiting" and count < len(AGAIN):
        again = _Again(after=AGAIN[count], next=count + 1)
    return page(
        "return.html",
        language,
        state=state,
        sign=_SIGNS.get(state, "…"),
        title=in_language(_TITLES[state], language),
        texts=_words(payment, language, looking=again is not None),
        facts=_facts(payment, language),
        again=again,
        look=in_language(_LOOK, language) if state == "waiting" and again is None else None,
    )


def _words(payment: Payment, language: str, *, looking: bool) -> list[str]:
    state = _STATES[payment.status]
    if state == "unpaid":
        code = payment.failure.code if payment.failure else FailureCode.OTHER
        return [failures.payer_message(code, language), failures.next_step(code, language)]
    more = [_LOOKING if looking else _RESTING] if state == "waiting" else []
    return [in_language(text, language) for text in (_TEXTS[state], *more)]


def _facts(payment: Payment, language: str) -> list[tuple[str, str]]:
    amount = payment.amount
    facts = [(in_language(_AMOUNT, language), f"{amount.amount:,f} {amount.currency}")]
    if payment.order_reference:
        # Some shops number their orders by phone number.
        facts.append((in_language(_ORDER, language), mask_text(payment.order_reference)))
    return [*facts, (in_language(_PAYMENT, language), payment.reference)]


def _notice(state: str, language: str, status: int, *, retry_after: int | None = None) -> Response:
    response = page(
        "return.html",
        language,
        status,
        state=state,
        sign=_SIGNS.get(state, "…"),
        title=in_language(_TITLES[state], language),
        texts=[in_language(_TEXTS[state], language)],
        facts=[],
        again=_Again(after=3 + retry_after, next=0) if retry_after else None,
        look=None,
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
