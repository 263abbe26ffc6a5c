"""Invoices for whoever has a link: GET /invoices/{id}, and the same as a PDF under {id}.pdf.

The link is the right to read one invoice until it is too old. What is not ours, what does not fit
together and what does not exist look all the same.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from dusangire.core import Core
from dusangire.database import LOST
from dusangire.errors import NotFound, Retryable
from dusangire.invoicing.documents.html import html_of, policy
from dusangire.invoicing.documents.links import opened
from dusangire.invoicing.documents.paper import Paper, load_paper
from dusangire.invoicing.documents.pdf import pdf_of
from dusangire.invoicing.documents.words import language_of
from dusangire.languages import in_language
from dusangire_server.limits import Limits, Rates
from dusangire_server.pages import NAMES, chosen_language, page

log = structlog.get_logger(__name__)

# So many PDFs may be waited for; whoever comes then tries again a second later.
_PRINTING = 16

_Show: TypeAlias = Callable[[Request, Paper, str], Awaitable[Response]]


@dataclass(slots=True)
class Papers:
    """The routes."""

    core: Core
    limits: Limits
    rates: Rates = field(init=False)
    printing: int = 0

    def __post_init__(self) -> None:
        self.rates = Rates(self.limits)

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/invoices/{id}.pdf", self.pdf),
            Route("/invoices/{id}", self.page),
        ]

    async def pdf(self, request: Request) -> Response:
        if self.printing >= _PRINTING:
            return _notice("busy", _asked(request) or "en", 503, retry_after=1)
        self.printing += 1
        try:
            return await self._answer(request, _as_pdf)
        finally:
            self.printing -= 1

    async def page(self, request: Request) -> Response:
        return await self._answer(request, _as_page)

    async def _answer(self, request: Request, show: _Show) -> Response:
        language = _asked(request) or "en"
        if not self.rates.take_address(request.client.host if request.client else ""):
            return _notice("busy", language, 429, retry_after=1)
        link = opened(self.core, request.query_params.get("token", ""))
        if link is None or str(link.invoice_id) != request.path_params["id"].lower():
            log.info("invoice asked for without a link of ours")
            return _notice("nobody", language, 404)
        if link.expired:
            return _notice("old", language, 410)
        try:
            paper = await load_paper(self.core, link.invoice_id)
        except NotFound:
            return _notice("nobody", language, 404)
        except (Retryable, *LOST):
            return _notice("away", language, 503, retry_after=5)
        shown = paper if link.in_full else paper.in_part()
        return await show(request, shown, _asked(request) or paper.locale)


def _asked(request: Request) -> str | None:
    """The language that the link names, or that the browser prefers."""
    if locale := request.query_params.get("locale"):
        return language_of(locale)
    accepted = request.headers.get("accept-language")
    return chosen_language(None, accepted) if accepted else None


async def _as_pdf(_request: Request, paper: Paper, language: str) -> Response:
    name = re.sub(r"[^A-Za-z0-9._-]", "", paper.invoice.number or "proforma")
    return Response(
        await pdf_of(paper, language),
        media_type="application/pdf",
        headers={
            "Content-Disposition": f'attachment; filename="{name}.pdf"',
            "X-Robots-Tag": "noindex, nofollow",
        },
    )


async def _as_page(request: Request, paper: Paper, language: str) -> Response:
    token, invoice_id = request.query_params["token"], paper.invoice.id

    def link(locale: str, suffix: str = "") -> str:
        return f"{invoice_id}{suffix}?{urlencode({'token': token, 'locale': locale})}"

    html = html_of(
        paper,
        language,
        pdf_link=link(language, ".pdf"),
        other_languages={NAMES[code]: link(code) for code in NAMES if code != language},
    )
    headers = {"Content-Security-Policy": policy(), "X-Robots-Tag": "noindex, nofollow"}
    return HTMLResponse(html, headers=headers)


# ── when there is nothing to show ────────────────────────────────────────────────────────────────

_TITLES = {
    "nobody": {
        "rw": "Nta nyandiko ibonetse",
        "en": "No such document",
        "fr": "Document introuvable",
    },
    "old": {
        "rw": "Iyi link yararengeje igihe",
        "en": "This link is too old",
        "fr": "Ce lien a expiré",
    },
    "busy": {"rw": "Tegereza gato", "en": "One moment", "fr": "Un instant"},
    "away": {"rw": "Tegereza gato", "en": "One moment", "fr": "Un instant"},
}
_TEXTS = {
    "nobody": {
        "rw": "Mugenzure aderesi, cyangwa mubaze umucuruzi.",
        "en": "Please check the address, or ask the shop.",
        "fr": "Vérifiez l'adresse ou contactez le vendeur.",
    },
    "old": {
        "rw": "Mwake umucuruzi indi link y'iyi nyandiko.",
        "en": "Please ask the shop for a new link to this document.",
        "fr": "Demandez au vendeur un nouveau lien vers ce document.",
    },
    "busy": {
        "rw": "Hari abantu benshi. Mwongere mugerageze.",
        "en": "Many people are here. Please try again.",
        "fr": "Il y a beaucoup de monde. Veuillez réessayer.",
    },
    "away": {
        "rw": "Ntidushoboye kubigenzura ubu. Mwongere mugerageze.",
        "en": "We cannot look it up this moment. Please try again.",
        "fr": "Impossible de vérifier pour le moment. Veuillez réessayer.",
    },
}
_SIGNS = {"nobody": "?", "old": "⌛"}


def _notice(state: str, language: str, status: int, *, retry_after: int | None = None) -> Response:
    response = page(
        "notice.html",
        language,
        status,
        state=state,
        sign=_SIGNS.get(state, "…"),
        title=in_language(_TITLES[state], language),
        text=in_language(_TEXTS[state], language),
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
