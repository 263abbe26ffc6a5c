"""Flutterwave as a provider: its calls, put together and translated."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from dusangire.gateway import (
    JSON,
    Accepted,
    Attempt,
    Environment,
    FollowLink,
    Gateway,
    Heard,
    Meaning,
    Outcome,
    Refund,
    Succeeded,
    TestReport,
    Unknown,
    WebhookRequest,
)
from dusangire.masking import has_card_number, hiding
from dusangire_card.config import CardConfig, is_here
from dusangire_card.flutterwave import mapping, trial, webhook
from dusangire_card.flutterwave.client import Answer, Client
from dusangire_card.provider import AnswerLost, Refused, UnsafeLink

# Of the words in an answer that a closed link is refused with.
_CLOSED_WORDS = ("already", "disabled", "expired")
# Browsers read a backslash as a slash, and leave out what cannot be seen: neither is in a link.
_PLAIN_URL = re.compile(r"[!-\[\]-~]{1,2000}")


@dataclass(frozen=True, slots=True)
class Flutterwave:
    """One account at Flutterwave. See `Provider` for what each method promises."""

    gateway: Gateway[CardConfig]

    @property
    def codes(self) -> Mapping[str, Meaning]:
        return mapping.CODES

    @property
    def _client(self) -> Client:
        return Client(self.gateway)

    # ── the page ─────────────────────────────────────────────────────────────────────────────────

    async def create_link(self, attempt: Attempt, return_url: str | None, minutes: int) -> str:
        config = self.gateway.config
        body = mapping.link_body(
            attempt,
            self.email_of(attempt),
            return_url,
            minutes,
            config.max_attempts,
            {"title": config.brand_title, "logo": config.brand_logo_url},
        )
        answer = _done(await self._client.create_link(body))
        link = answer.fields.get("link")
        if not isinstance(link, str):
            raise AnswerLost("Flutterwave's answer has no link in it")
        if not self.is_safe(link):
            raise UnsafeLink
        return link

    async def close_link(self, url: str) -> None:
        answer = await self._client.disable_link(url)
        if not answer.ok and any(word in answer.message.lower() for word in _CLOSED_WORDS):
            return
        _done(answer)

    def is_safe(self, url: str) -> bool:
        """Whether payers may be sent there: an encrypted page of Flutterwave's own.

        In test mode also a page on this machine, when the API is a simulator there too.
        """
        if not _PLAIN_URL.fullmatch(url) or has_card_number(url):
            return False
        try:
            parts, base = urlsplit(url), urlsplit(self.gateway.config.base_url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if is_here(host):
            simulated = self.gateway.environment is Environment.TEST and is_here(
                base.hostname or ""
            )
            return simulated and parts.scheme in {"http", "https"}
        ours = any(
            host == one or host.endswith(f".{one}") for one in self.gateway.config.link_hosts
        )
        return ours and parts.scheme == "https" and port is None and "@" not in parts.netloc

    # ── charges ──────────────────────────────────────────────────────────────────────────────────

    async def find_charge(self, attempt: Attempt) -> Outcome | None:
        answer = await self._client.verify(attempt.reference)
        if mapping.is_unknown(answer):
            return None
        return self._charge(_done(answer).fields, attempt, self.email_of(attempt))

    async def charge_token(self, attempt: Attempt, token: str, return_url: str | None) -> Outcome:
        value, email = mapping.parse_token(token)
        country = self.gateway.config.country
        body = mapping.token_body(attempt, value, email, country, return_url)
        # Core hides what it keeps, and this is the part of it that travels.
        with hiding(value):
            answer = _done(await self._client.charge_token(body))
        outcome = self._charge(answer.fields, attempt, email)
        page = _confirmation_page(answer.fields)
        if not isinstance(outcome, Accepted) or page is None:
            return outcome
        if not self.is_safe(page):
            self.gateway.log.error("security: the page to confirm on is a stranger's")
            return outcome
        return replace(outcome, next_action=FollowLink(url=page))

    def _charge(self, fields: Mapping[str, JSON], attempt: Attempt, email: str) -> Outcome:
        outcome = mapping.outcome_of_charge(fields, attempt, self.gateway.environment, email)
        if isinstance(outcome, Succeeded) and outcome.fee is not None:
            exact = mapping.exact_fee(fields)
            if exact is not None and exact != outcome.fee.amount:
                self.gateway.note("exact fee", f"{exact:f} {outcome.fee.currency}")
        return outcome

    def email_of(self, attempt: Attempt) -> str:
        """The payer's address, or one of the merchant's that is always the same for a customer.

        Flutterwave asks for one, and keeps cards under it.
        """
        if attempt.email:
            return attempt.email
        whose = attempt.customer or attempt.payment_reference
        digest = hashlib.sha256(whose.encode()).hexdigest()[:20]
        return f"buyer+{digest}@{self.gateway.config.email_domain}"

    # ── refunds ──────────────────────────────────────────────────────────────────────────────────

    async def start_refund(self, refund: Refund, transaction_id: str) -> Outcome:
        answer = await self._client.refund(transaction_id, mapping.refund_body(refund))
        return self._refund(_done(answer).fields, refund)

    async def find_refund(self, refund: Refund, transaction_id: str) -> Outcome | None:
        known = refund.plugin_data.get("refund_id")
        if isinstance(known, str):
            fields = _done(await self._client.refund_status(known)).fields
            if mapping.id_in(fields) != known:
                return Unknown(cause="Flutterwave answers about another refund")
            return self._refund(fields, refund)
        answer = await self._client.refunds(transaction_id)
        if not answer.ok and answer.http == 404:
            return None
        entries = _done(answer).data
        if not isinstance(entries, list):
            raise AnswerLost("Flutterwave's list of refunds is no list")
        ours = [one for one in entries if mapping.is_about(one, refund, transaction_id)]
        if len(ours) > 1:
            return Unknown(cause="Flutterwave shows this refund more than once")
        return self._refund(ours[0], refund) if ours else None

    def _refund(self, fields: Mapping[str, JSON], refund: Refund) -> Outcome:
        final_after = timedelta(days=self.gateway.config.refund_final_after_days)
        outcome = mapping.outcome_of_refund(fields, refund, self.gateway.clock(), final_after)
        if isinstance(outcome, Succeeded) and fields.get("status") == mapping.REFUND_TAKEN:
            self.gateway.note("refund", "taken by Flutterwave; assumed to have arrived")
        return outcome

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────

    def hear(self, request: WebhookRequest) -> Heard:
        return webhook.read(request, self.gateway.config.webhook_secret_hash.get_secret_value())

    async def try_account(self) -> TestReport:
        return await trial.try_account(self.gateway)


def _done(answer: Answer) -> Answer:
    """The answer to a call that worked. Raises Refused, and AnswerLost when it must be asked."""
    if answer.ok:
        return answer
    failed = mapping.refused(answer)
    if failed is None:
        raise AnswerLost(f"Flutterwave answered {answer.http}", str(answer.http))
    raise Refused(failed)


def _confirmation_page(fields: Mapping[str, JSON]) -> str | None:
    """Where the payer confirms a charge of a kept card, if the bank wants that."""
    meta = fields.get("meta")
    authorization = meta.get("authorization") if isinstance(meta, dict) else None
    if not isinstance(authorization, dict) or authorization.get("mode") != "redirect":
        return None
    page = authorization.get("redirect")
    return page if isinstance(page, str) else None
