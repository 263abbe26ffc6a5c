"""Where statements come from: the merchant's bank accounts, wallets and settlement reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.errors import Conflict, GatewayNotFound, IllegalState, Invalid, NotFound
from dusangire.gateways import Account as Gateway
from dusangire.money import Money, exponent
from dusangire.permissions import Permission
from dusangire.records import json_of
from dusangire.statements import AccountKind
from dusangire.text import clean, clean_optional


class AccountSettings(BaseModel):
    """How strictly an account's lines are matched. Amounts are minor units of its currency.

    tolerance, tolerance_percent: how far apart two amounts may lie and still be offered as the
        same; both must hold. A franc has nothing to round, so for RWF a difference is real.
    days_before, days_after: of a payment, when its line may be booked; days_after in business days.
    payout_before, payout_after: the same of a provider's payout.
    stale_after: days after which money on its way is looked for.
    fee_percent, fee_fixed: what the provider keeps by contract; None: not agreed.
    payout_words: how the bank's narration names the provider's payouts.
    write_off_limit: above it a second person decides.
    threshold: from this confidence on a match needs no person.
    auto_payer: amount, date and payer together need no person either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tolerance: int = Field(0, ge=0, le=10**12)
    tolerance_percent: Decimal = Field(Decimal(1), ge=0, le=100)
    days_before: int = Field(1, ge=0, le=30)
    days_after: int = Field(3, ge=0, le=60)
    payout_before: int = Field(1, ge=0, le=30)
    payout_after: int = Field(3, ge=0, le=60)
    stale_after: int = Field(14, ge=1, le=365)
    fee_percent: Decimal | None = Field(None, ge=0, le=100)
    fee_fixed: int = Field(0, ge=0, le=10**12)
    payout_words: tuple[str, ...] = Field((), max_length=20)
    write_off_limit: int = Field(0, ge=0, le=10**12)
    threshold: int = Field(92, ge=80, le=100)
    auto_payer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementAccount:
    """Where money lies and statements come from.

    number: as the merchant wrote it; compare with `same_number`.
    gateway_id: of the gateway whose money goes there, if it is only one's.
    profile: how its tables are read, when nobody says otherwise.
    closed_until: the last day of the last closed period.
    """

    id: UUID
    code: str
    name: str
    kind: AccountKind
    currency: str
    number: str | None
    gateway_id: UUID | None
    profile: str | None
    settings: AccountSettings
    closed_until: date | None
    version: int
    created_at: datetime

    @classmethod
    def of(cls, row: Row) -> "StatementAccount":
        currency = row["currency"]
        return cls(
            id=row["id"],
            code=row["code"],
            name=row["name"],
            kind=AccountKind(row["kind"]),
            currency=currency,
            number=row["number"],
            gateway_id=row["gateway_id"],
            profile=row["profile"],
            settings=AccountSettings.model_validate(
                {**_defaults(currency), **json_of(row["settings"])}
            ),
            closed_until=row["closed_until"],
            version=row["version"],
            created_at=row["created_at"],
        )

    def is_too_much_for_one(self, amount: Money) -> bool:
        """Whether a second person has to agree to write this off.

        The limit is one of the account's currency: it says nothing of another.
        """
        if amount.minor == 0:
            return False
        return amount.currency != self.currency or abs(amount.minor) > self.settings.write_off_limit


def same_number(one: str, other: str) -> bool:
    """Whether two spellings are one account: Rwanda's banks have no IBAN, and zeros count.

    A bank may put its own code before the number, or the currency after it.
    """
    shorter, longer = sorted((one, other), key=lambda text: len(bare_number(text)))
    first, second = bare_number(shorter), bare_number(longer)
    if first == second:
        return True
    with_currency = second.startswith(first) and second[len(first) :].isalpha()
    return len(first) >= 6 and (
        first == bare_number(longer.rsplit("/", 1)[-1])
        or (with_currency and len(second) == len(first) + 3)
    )


def bare_number(text: str) -> str:
    return "".join(c for c in text if c.isalnum()).upper()


_BY_CODE = "SELECT * FROM statement_account WHERE code = $1"
_HOLD = "SELECT * FROM statement_account WHERE code = $1 FOR UPDATE"
_BY_ID = "SELECT * FROM statement_account WHERE id = $1"
_BY_IDS = "SELECT * FROM statement_account WHERE id = ANY($1::uuid[])"
_ALL = "SELECT * FROM statement_account ORDER BY code"
# Of two that make the same account at once, one does.
_MAKE = f"""WITH made AS (
    INSERT INTO statement_account (id, code, name, kind, currency, number, gateway_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (code) DO NOTHING RETURNING id
)
INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $8, $9, $10, $11, $12::jsonb, $13 FROM made"""


async def by_code(core: Core, code: str) -> StatementAccount:
    """The account; made from the gateway of that code when it is asked for first.

    Raises NotFound.
    """
    if rows := await fetch(_BY_CODE, code):
        return StatementAccount.of(rows[0])
    try:
        gateway = await core.gateways.by_code(code)
    except GatewayNotFound:
        gateway = None
    if gateway is None or gateway.gateway is None:
        raise NotFound(
            f"There is no statement account {code[:40]!r}, nor a gateway of that code. The "
            "statementAccounts query lists them.",
            field=["account"],
        )
    await _made(gateway)
    return StatementAccount.of((await fetch(_BY_CODE, code))[0])


async def by_id(account_id: UUID) -> StatementAccount:
    """Raises NotFound."""
    rows = await fetch(_BY_ID, account_id)
    if not rows:
        raise NotFound("There is no such statement account.")
    return StatementAccount.of(rows[0])


async def of_gateway(core: Core, gateway_id: UUID) -> StatementAccount:
    """The account that a gateway's own statements tell of. Raises NotFound."""
    account = await core.gateways.by_id(gateway_id)
    return await by_code(core, account.code)


async def by_ids(ids: list[UUID]) -> dict[UUID, StatementAccount]:
    return {row["id"]: StatementAccount.of(row) for row in await fetch(_BY_IDS, ids)}


async def accounts(actor: Actor) -> list[StatementAccount]:
    """All of them, by code. Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    return [StatementAccount.of(row) for row in await fetch(_ALL)]


async def _made(account: Gateway) -> None:
    assert account.plugin is not None
    assert account.gateway is not None
    config = account.gateway.config
    kind = getattr(account.plugin.description, "statement", AccountKind.WALLET)
    number = getattr(config, "account_number", None)
    await fetch(
        _MAKE,
        uuid4(),
        account.code,
        account.name,
        str(kind),
        config.currency,
        number,
        account.id,
        *audit_values(
            "system",
            "system",
            "statement_account.saved",
            f"statement_account:{account.code}",
            {"kind": str(kind), "currency": config.currency, "gateway": account.code},
        ),
    )


# ── saved by an admin ────────────────────────────────────────────────────────────────────────────

_SAVE = f"""WITH saved AS (
    INSERT INTO statement_account
        (id, code, name, kind, currency, number, gateway_id, profile, settings)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)
    ON CONFLICT (code) DO UPDATE SET name = $3, kind = $4, currency = $5, number = $6,
        gateway_id = $7, profile = $8, settings = $9::jsonb,
        version = statement_account.version + 1
    WHERE statement_account.id = $1 AND statement_account.version = $10
    RETURNING *
), note AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $11, $12, $13, $14, $15::jsonb, $16 FROM saved
)
SELECT * FROM saved"""
_IS_USED = """SELECT EXISTS (SELECT FROM statement WHERE account_id = $1)
    OR EXISTS (SELECT FROM clearing_item WHERE account_id = $1) AS used"""


async def save(
    core: Core,
    actor: Actor,
    *,
    code: str,
    name: str,
    kind: AccountKind,
    currency: str,
    number: str | None = None,
    gateway: str | None = None,
    profile: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> StatementAccount:
    """Creates an account or changes it. Settings that are left out stay.

    Raises Forbidden, Invalid, CurrencyNotSupported, GatewayNotFound; IllegalState when it has
    statements already, whose kind and currency it has to keep; Conflict.
    """
    actor.require(Permission.CONFIGURE_STATEMENTS)
    code, name = _code(code), clean(name, "name", limit=100)
    exponent(currency)
    number = clean_optional(number, "number", limit=64)
    profile = clean_optional(profile, "profile", limit=60)
    gateway_id = (await core.gateways.by_code(gateway)).id if gateway else None
    async with tx():
        rows = await fetch(_HOLD, code)
        row = rows[0] if rows else None
        if row is not None:
            await _check_kept(row, kind, currency, gateway_id)
        merged = {**(json_of(row["settings"]) if row else {}), **(settings or {})}
        plain = _settings(merged)
        said = {"kind": kind, "currency": currency, "gateway": gateway, "settings": plain}
        saved = await fetch(
            _SAVE,
            row["id"] if row else uuid4(),
            code,
            name,
            str(kind),
            currency,
            number,
            gateway_id,
            profile,
            orjson.dumps(plain).decode(),
            row["version"] if row else 0,
            *audit_values(
                actor.kind,
                actor.name,
                "statement_account.saved",
                f"statement_account:{code}",
                said,
            ),
        )
    if not saved:
        raise Conflict
    return StatementAccount.of(saved[0])


async def _check_kept(row: Row, kind: AccountKind, currency: str, gateway_id: UUID | None) -> None:
    same = (row["kind"], row["currency"], row["gateway_id"]) == (kind, currency, gateway_id)
    if not same and (await fetch(_IS_USED, row["id"]))[0]["used"]:
        raise IllegalState(
            "This account has statements: its kind, its currency and its gateway stay. Save "
            "another account for the other one."
        )


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, checked; the others stay the defaults of the day."""
    try:
        parsed = AccountSettings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = [str(part) for part in first["loc"]]
        raise Invalid(
            f"{'.'.join(path) or 'settings'}: {first['msg']}.", field=["settings", *path]
        ) from None
    for word in parsed.payout_words:
        clean(word, "settings", "payout_words", limit=60)
    return parsed.model_dump(mode="json", exclude_unset=True)


def _defaults(currency: str) -> dict[str, Any]:
    # Where there are cents, one of them is lost in rounding now and then.
    return {"tolerance": 1 if exponent(currency) else 0}


def _code(text: str) -> str:
    code = clean(text, "code", limit=40)
    if not code.replace("-", "").replace("_", "").isalnum() or not code.isascii():
        raise Invalid("An account's code has letters, digits, - and _ only.", field=["code"])
    return code.lower()
