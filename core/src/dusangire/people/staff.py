"""The people who work with the system: their accounts, their roles, and the links that let them in.

There is no account to begin with. The first one is made on the command line of the server, and a
link that works once leads to where its owner chooses a password.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.errors import Conflict, Forbidden, IllegalState, Invalid, NotFound
from dusangire.permissions import Permission, Role
from dusangire.settings import Settings
from dusangire.text import clean, clean_optional

LINK_LIFE = timedelta(minutes=15)
# Where `serve` listens when nobody says anything else.
_HERE = "http://127.0.0.1:8000"
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")

PERSON_COLUMNS = """p.id, p.email, p.name, p.role, p.created_at, p.disabled_at,
    p.password IS NOT NULL AS has_password, p.totp IS NOT NULL AS has_code_generator,
    (SELECT max(s.last_seen_at) FROM staff_session s WHERE s.staff_id = p.id) AS last_seen_at"""
_ALL = f"SELECT {PERSON_COLUMNS} FROM staff p ORDER BY p.disabled_at IS NOT NULL, p.email"
_ONE = f"SELECT {PERSON_COLUMNS} FROM staff p WHERE p.id = $1"
_BY_EMAIL = f"SELECT {PERSON_COLUMNS} FROM staff p WHERE p.email = $1"
_INSERT = """INSERT INTO staff (id, email, name, role) VALUES ($1, $2, $3, $4)
ON CONFLICT (email) DO NOTHING RETURNING id"""
# Who changes one administrator waits for whoever changes another: one of them stays.
_LOCK_ADMINS = """SELECT id FROM staff WHERE role = 'ADMIN' AND disabled_at IS NULL
ORDER BY id FOR UPDATE"""
_LOCK = "SELECT id FROM staff WHERE id = $1 FOR UPDATE"
_SET_ROLE = "UPDATE staff SET role = $2 WHERE id = $1"
_DISABLE = "UPDATE staff SET disabled_at = coalesce(disabled_at, now()) WHERE id = $1"
_ENABLE = "UPDATE staff SET disabled_at = NULL WHERE id = $1"
_END_SESSIONS = """UPDATE staff_session SET ended_at = now()
WHERE staff_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $2"""
_DROP_LINKS = "DELETE FROM staff_link WHERE staff_id = $1 AND used_at IS NULL"
_INSERT_LINK = """INSERT INTO staff_link
    (id, staff_id, digest, reset_password, reset_totp, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + $6)"""
_NOTE = f"INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($1, $2, $3, $4, $5::jsonb, $6)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account."""

    id: UUID
    email: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool
    has_code_generator: bool
    last_seen_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "Person":
        return cls(
            id=row["id"],
            email=row["email"],
            name=row["name"],
            role=Role(row["role"]),
            created_at=row["created_at"],
            disabled_at=row["disabled_at"],
            has_password=row["has_password"],
            has_code_generator=row["has_code_generator"],
            last_seen_at=row["last_seen_at"],
        )


@dataclass(frozen=True, slots=True)
class Invited:
    """A person, and the address that lets them in once, within fifteen minutes."""

    person: Person
    login_url: str


async def people(actor: Actor) -> list[Person]:
    """Everybody, the disabled ones last. Raises Forbidden."""
    actor.require(Permission.READ_STAFF)
    return [Person.of(row) for row in await fetch(_ALL)]


async def find(actor: Actor, email: str) -> Person:
    """Raises Forbidden, NotFound."""
    actor.require(Permission.READ_STAFF)
    rows = await fetch(_BY_EMAIL, same(email))
    if not rows:
        raise NotFound("There is nobody with this e-mail. `dusangire staff list` shows them all.")
    return Person.of(rows[0])


async def create(
    core: Core, actor: Actor, *, email: str, role: Role, name: str | None = None
) -> Invited:
    """An account, and the link with which its owner begins. Raises Forbidden, Invalid, Conflict."""
    actor.require(Permission.MANAGE_STAFF)
    email = same(clean(email, "email", limit=254))
    if not _EMAIL.fullmatch(email):
        raise Invalid("This is not an e-mail address.", field=["email"])
    shown = clean_optional(name, "name", limit=100) or email.partition("@")[0]
    token, staff_id = secrets.token_urlsafe(32), uuid4()
    async with tx():
        if not await fetch(_INSERT, staff_id, email, shown, role):
            raise Conflict("There is an account with this e-mail already.", field=["email"])
        await _put_link(staff_id, token, reset_password=False, reset_totp=False)
        await note(actor, "staff.created", staff_id, {"email": email, "role": role})
    return Invited(await _person(staff_id), _login_url(core.settings, token))


async def change_role(actor: Actor, staff_id: UUID, role: Role) -> Person:
    """What the person may do from now on, also where they are signed in already.

    Raises Forbidden for oneself, NotFound, IllegalState for the last administrator.
    """
    actor.require(Permission.MANAGE_STAFF)
    if actor.staff_id == staff_id:
        raise Forbidden("Nobody changes their own role. Ask another administrator.", field=["id"])
    async with tx():
        before = await _locked(staff_id, stays_admin=role is Role.ADMIN)
        await fetch(_SET_ROLE, staff_id, role)
        await note(actor, "staff.role_changed", staff_id, {"from": before.role, "to": role})
    return await _person(staff_id)


async def disable(actor: Actor, staff_id: UUID) -> Person:
    """Ends an account: its sessions and links too, within five seconds everywhere.

    Raises Forbidden, NotFound, IllegalState for the last administrator.
    """
    actor.require(Permission.MANAGE_STAFF)
    async with tx():
        await _locked(staff_id, stays_admin=False)
        await fetch(_DISABLE, staff_id)
        await fetch(_DROP_LINKS, staff_id)
        await end_sessions(staff_id)
        await note(actor, "staff.disabled", staff_id, {})
    return await _person(staff_id)


async def enable(actor: Actor, staff_id: UUID) -> Person:
    """Lets a disabled person sign in again, as before. Raises Forbidden, NotFound."""
    actor.require(Permission.MANAGE_STAFF)
    async with tx():
        await _locked(staff_id, stays_admin=True)
        await fetch(_ENABLE, staff_id)
        await note(actor, "staff.enabled", staff_id, {})
    return await _person(staff_id)


async def new_link(
    core: Core,
    actor: Actor,
    staff_id: UUID,
    *,
    reset_password: bool = False,
    reset_totp: bool = False,
) -> Invited:
    """Another link, for who lost the first one or their password. Earlier ones end.

    reset_password, reset_totp: using it forgets the password, or the code generator; the person
        sets up a new one at once.
    Raises Forbidden, NotFound, IllegalState for a disabled person.
    """
    actor.require(Permission.MANAGE_STAFF)
    token = secrets.token_urlsafe(32)
    async with tx():
        person = await _locked(staff_id, stays_admin=True)
        if person.disabled_at is not None:
            raise IllegalState("This account is disabled. Enable it first.")
        await fetch(_DROP_LINKS, staff_id)
        await _put_link(staff_id, token, reset_password=reset_password, reset_totp=reset_totp)
        resets = {"reset_password": reset_password, "reset_totp": reset_totp}
        await note(actor, "staff.link_made", staff_id, resets)
    return Invited(person, _login_url(core.settings, token))


async def end_sessions(staff_id: UUID, *, but: UUID | None = None) -> None:
    """Signs a person out everywhere."""
    await fetch(_END_SESSIONS, staff_id, but)


async def note(actor: Actor, action: str, staff_id: UUID | None, detail: Mapping[str, Any]) -> None:
    """The audit entry of what happened to an account; None: to one that is not there."""
    about = f"staff:{staff_id or 'unknown'}"
    await fetch(_NOTE, *audit_values(actor.kind, actor.name, action, about, detail))


def link_digest(token: str) -> str:
    """All that is kept of a link or a cookie. They have 256 random bits: a fast digest will do."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def same(email: str) -> str:
    """An address as it is compared."""
    return email.strip().lower()


async def _person(staff_id: UUID) -> Person:
    rows = await fetch(_ONE, staff_id)
    if not rows:
        raise NotFound(field=["id"])
    return Person.of(rows[0])


async def _locked(staff_id: UUID, *, stays_admin: bool) -> Person:
    """The person, whom nobody else changes until this transaction ends."""
    admins = [] if stays_admin else [row["id"] for row in await fetch(_LOCK_ADMINS)]
    await fetch(_LOCK, staff_id)
    if admins == [staff_id]:
        raise IllegalState(
            "This is the last administrator who is enabled. Make another one first.", field=["id"]
        )
    return await _person(staff_id)


async def _put_link(staff_id: UUID, token: str, *, reset_password: bool, reset_totp: bool) -> None:
    digest = link_digest(token)
    await fetch(
        _INSERT_LINK, uuid4(), staff_id, digest, reset_password, reset_totp, LINK_LIFE
    )  # fmt: skip


def _login_url(settings: Settings, token: str) -> str:
    return f"{settings.public_url or _HERE}/admin/link/{token}"
