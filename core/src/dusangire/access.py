"""Who is calling, and what they may do: API keys, client tokens, staff, the system itself."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import structlog

from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.database import Row, fetch
from dusangire.errors import ConfirmationNeeded, Forbidden, Invalid, NotFound, Unauthenticated
from dusangire.keyring import BadSignature, Keyring
from dusangire.permissions import RULES, TWO_FACTORS, Permission, Role, Rule, Scope
from dusangire.text import clean

log = structlog.get_logger(__name__)

# How long after a person typed their password or code they may do what needs it.
CONFIRMED_FOR = 5 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who does something.

    kind: `api_key`, `client` (the payer of one payment), `staff` (a person with a session),
        `operator` (the command line), `system`.
    payment_id: the one payment a client may see and pay.
    staff_id: of a person; of an API key, whoever made it: what a key asks for, its maker asked for.
    confirmed_at: when a person last showed that it is them; seconds since the epoch.
    expires_at: seconds since the epoch after which the token behind it is not valid.
    """

    kind: str
    name: str
    scopes: frozenset[Scope] = frozenset()
    role: Role | None = None
    payment_id: UUID | None = None
    key_id: UUID | None = None
    staff_id: UUID | None = None
    session_id: UUID | None = None
    confirmed_at: float | None = None
    expires_at: float | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and time.time() > self.expires_at

    @property
    def idempotency_scope(self) -> str:
        """Callers with the same scope share their keys.

        All API keys of the merchant do: a key that is rotated between a request and its repetition
        must not charge twice.
        """
        match self.kind:
            case "client":
                return f"client:{self.payment_id}"
            case "staff":
                return f"staff:{self.staff_id}"
        return "merchant"

    @property
    def confirmed(self) -> bool:
        return self.confirmed_at is not None and time.time() - self.confirmed_at < CONFIRMED_FOR

    def may(self, permission: Permission) -> bool:
        """Whether the actor may do it at all; a person may have to confirm who they are first."""
        rule = RULES[permission]
        match self.kind:
            case "staff":
                return self.role is not None and self.role.rank >= rule.role.rank
            case "api_key":
                return bool(self.scopes & rule.scopes)
            case "operator":
                return rule.command_line
        return self.kind == "system"

    def require(self, permission: Permission) -> None:
        """Raises Forbidden; ConfirmationNeeded for a person who may, once it is sure it is them."""
        rule = RULES[permission]
        if not self.may(permission):
            who = self.staff_id or self.key_id or self.kind
            log.warning("security: not allowed", actor=str(who), permission=permission)
            raise Forbidden(_needed(self, rule))
        if rule.fresh and self.kind == "staff" and not self.confirmed:
            raise ConfirmationNeeded

    def may_see(self, payment_id: UUID) -> bool:
        return self.payment_id == payment_id or self.may(Permission.READ_PAYMENT)


def _needed(actor: Actor, rule: Rule) -> str:
    if actor.kind == "staff" or not rule.scopes:
        return f"This needs a person with the role {rule.role}."
    scopes = " or ".join(scope for scope in Scope if scope in rule.scopes - {Scope.ADMIN})
    return f"This needs an API key with the scope {scopes or Scope.ADMIN}."


SYSTEM = Actor(kind="system", name="system")
OPERATOR = Actor(kind="operator", name="command line")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as it is listed: its secret is known to its holder alone."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "ApiKey":
        return cls(
            id=row["id"],
            name=row["name"],
            prefix=f"dpk_{row['public_id']}",
            scopes=tuple(Scope(scope) for scope in orjson.loads(row["scopes"])),
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            revoked_at=row["revoked_at"],
        )


async def create_api_key(actor: Actor, name: str, scopes: list[Scope]) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown this once. Raises Forbidden, Invalid."""
    actor.require(Permission.MANAGE_KEYS)
    name = clean(name, "name", limit=100)
    if not scopes:
        raise Invalid("A key without any scope could do nothing.", field=["scopes"])
    public_id, secret = secrets.token_hex(6), secrets.token_hex(24)
    key_id = uuid4()
    [row] = await fetch(
        f"""WITH key AS (
            INSERT INTO api_key (id, public_id, name, digest, scopes, created_by_id)
            VALUES ($1, $2, $3, $4, $5::jsonb, $6) RETURNING *
        ), audit AS (
            INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($7, $8, $9, $10, $11::jsonb, $12)
        )
        SELECT * FROM key""",
        key_id,
        public_id,
        name,
        _digest(secret),
        orjson.dumps(sorted(set(scopes))).decode(),
        actor.staff_id,
        *audit_values(
            actor.kind,
            actor.name,
            "api_key.created",
            f"api_key:dpk_{public_id}",
            {"name": name, "scopes": sorted(set(scopes))},
        ),
    )
    return ApiKey.of(row), f"dpk_{public_id}_{secret}"


async def list_api_keys(actor: Actor) -> list[ApiKey]:
    """Every key, the newest first. Raises Forbidden."""
    actor.require(Permission.READ_KEYS)
    return [ApiKey.of(row) for row in await fetch("SELECT * FROM api_key ORDER BY created_at DESC")]


async def revoke_api_key(actor: Actor, key_id: UUID) -> ApiKey:
    """Ends a key; whoever uses it is out within five seconds. Raises Forbidden, NotFound."""
    actor.require(Permission.MANAGE_KEYS)
    rows = await fetch(
        f"""WITH key AS (
            UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING *
        ), audit AS (
            INSERT INTO audit_entry {AUDIT_COLUMNS}
            SELECT $2, $3, $4, 'api_key:dpk_' || key.public_id, $6::jsonb, $7 FROM key
            WHERE $5::text IS NOT NULL
        )
        SELECT * FROM key""",
        key_id,
        *audit_values(actor.kind, actor.name, "api_key.revoked", "", {}),
    )
    if not rows:
        raise NotFound(field=["id"])
    return ApiKey.of(rows[0])


async def valid_keys(ids: set[UUID]) -> set[UUID]:
    """Which of these keys may still be used."""
    if not ids:
        return set()
    rows = await fetch(
        "SELECT id FROM api_key WHERE id = ANY($1) AND revoked_at IS NULL", list(ids)
    )
    return {row["id"] for row in rows}


# Nobody does anything for so long, or is signed in for so long: they sign in again.
SESSION_IDLE = timedelta(minutes=30)
SESSION_LONGEST = timedelta(hours=12)
SESSION_ALIVE = """s.ended_at IS NULL AND p.disabled_at IS NULL
    AND s.last_seen_at > now() - $2::interval AND s.created_at > now() - $3::interval"""
_VALID_SESSIONS = f"""SELECT s.id, p.role FROM staff_session s JOIN staff p ON p.id = s.staff_id
WHERE s.id = ANY($1) AND {SESSION_ALIVE}
    AND p.password IS NOT NULL AND (p.totp IS NOT NULL OR p.role <> ALL($4))"""


async def valid_sessions(actors: list[Actor]) -> set[UUID]:
    """The sessions of these people that go on, with the role they began with."""
    roles = {actor.session_id: actor.role for actor in actors if actor.session_id is not None}
    if not roles:
        return set()
    rows = await fetch(
        _VALID_SESSIONS, list(roles), SESSION_IDLE, SESSION_LONGEST, sorted(TWO_FACTORS)
    )
    return {row["id"] for row in rows if roles[row["id"]] == row["role"]}


CLIENT_TOKEN_LIFE = timedelta(days=2)
KEY_MEMORY = 2.0


@dataclass(slots=True)
class Authenticator:
    """Tells who a bearer token belongs to. Keys are remembered for two seconds.

    So a revoked key works for two seconds more at the most, and a busy one costs no query.
    """

    keyring: Keyring
    _known: dict[str, tuple[float, Actor, str]] = field(default_factory=dict)
    _used: set[UUID] = field(default_factory=set)

    def client_token(self, payment_id: UUID) -> str:
        """A token that lets a phone or browser read, pay and watch one payment, for two days."""
        expires = int((datetime.now(UTC) + CLIENT_TOKEN_LIFE).timestamp())
        signed = str(self.keyring.signer("client-token").dumps([payment_id.hex, expires]))
        return f"dct_{signed}"

    async def actor(self, token: str) -> Actor:
        """Raises Unauthenticated."""
        if token.startswith("dct_"):
            return self._client(token)
        if token.startswith("dpk_"):
            return await self._api_key(token)
        raise Unauthenticated

    def _client(self, token: str) -> Actor:
        try:
            payment_hex, expires = self.keyring.signer("client-token").loads(token[4:])
            actor = Actor(
                kind="client",
                name=f"payer of {UUID(hex=payment_hex)}",
                payment_id=UUID(hex=payment_hex),
                expires_at=float(expires),
            )
        except (BadSignature, ValueError, TypeError, AttributeError) as error:
            raise Unauthenticated from error
        if actor.expired:
            raise Unauthenticated("This client token is too old. Ask the shop for a new one.")
        return actor

    async def _api_key(self, token: str) -> Actor:
        public_id, _, secret = token[4:].partition("_")
        if not public_id.isalnum() or not public_id.isascii():
            raise Unauthenticated
        digest = _digest(secret)
        known = self._known.get(public_id)
        if known is None or time.monotonic() > known[0]:
            if known is not None:
                # Others go on with what is known while this one looks it up again.
                self._known[public_id] = (time.monotonic() + KEY_MEMORY, *known[1:])
            known = await self._look_up(public_id)
        if not hmac.compare_digest(known[2], digest):
            raise Unauthenticated
        return known[1]

    async def _look_up(self, public_id: str) -> tuple[float, Actor, str]:
        rows = await fetch(
            "UPDATE api_key SET last_used_at = now() WHERE public_id = $1 AND revoked_at IS NULL "
            "RETURNING *",
            public_id[:64],
        )
        if not rows:
            self._known.pop(public_id, None)
            raise Unauthenticated
        [row] = rows
        key = ApiKey.of(row)
        actor = Actor(
            kind="api_key",
            name=key.name,
            scopes=frozenset(key.scopes),
            key_id=key.id,
            staff_id=row["created_by_id"],
        )
        self._known[public_id] = (time.monotonic() + KEY_MEMORY, actor, row["digest"])
        return self._known[public_id]


def _digest(secret: str) -> str:
    # The secret has 192 random bits: a fast digest is as safe as a slow one here.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
