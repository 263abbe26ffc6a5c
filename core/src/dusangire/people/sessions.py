"""Signing in, staying signed in, and showing again that it is oneself.

A session is a row; its cookie is the only key to it, and we keep just a digest of that. Whatever
ends a session or changes a role is seen by the next request, since nothing of it is remembered.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog

from dusangire.access import SESSION_ALIVE, SESSION_IDLE, SESSION_LONGEST, Actor
from dusangire.core import Core
from dusangire.database import fetch, tx
from dusangire.errors import (
    CannotStart,
    Forbidden,
    Invalid,
    Retryable,
    SignInRefused,
    Unauthenticated,
)
from dusangire.keyring import BadSignature
from dusangire.people import onetime, passwords, staff, throttle
from dusangire.people.throttle import Bucket
from dusangire.permissions import TWO_FACTORS, Role

log = structlog.get_logger(__name__)

# Who guesses this often with a session in hand is not its owner: it ends.
GUESSES = 5
# How long a person without a password may look around before they have to choose one.
_UNFINISHED = timedelta(minutes=5)
_SEEN_EVERY = timedelta(minutes=1)

_FIND = f"""SELECT s.id, s.staff_id, s.confirmed_at, s.created_at, s.totp_draft,
    s.last_seen_at < now() - $4::interval AS unseen, p.email, p.name, p.role, p.password, p.totp
FROM staff_session s JOIN staff p ON p.id = s.staff_id
WHERE s.digest = $1 AND {SESSION_ALIVE}"""
_SEEN = "UPDATE staff_session SET last_seen_at = now() WHERE id = $1"
_BEGIN = """INSERT INTO staff_session (id, staff_id, digest, confirmed_at)
VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END)"""
_END = "UPDATE staff_session SET ended_at = now() WHERE id = $1 AND ended_at IS NULL RETURNING id"
_CONFIRM = "UPDATE staff_session SET confirmed_at = now() WHERE id = $1 RETURNING confirmed_at"
_WHO = "SELECT id, email, password, totp, disabled_at FROM staff WHERE email = $1"
_CREDENTIALS = "SELECT password, totp FROM staff WHERE id = $1"
_LINK = """SELECT l.id, l.staff_id, l.reset_password, l.reset_totp, p.email, p.totp
FROM staff_link l JOIN staff p ON p.id = l.staff_id
WHERE l.digest = $1 AND l.used_at IS NULL AND l.expires_at > now() AND p.disabled_at IS NULL"""
_USE_LINK = """UPDATE staff_link SET used_at = now()
WHERE id = $1 AND used_at IS NULL AND expires_at > now() RETURNING id"""
_FORGET = """UPDATE staff SET password = CASE WHEN $2 THEN NULL ELSE password END,
    totp = CASE WHEN $3 THEN NULL ELSE totp END WHERE id = $1"""
_PUT_FIRST = "UPDATE staff SET password = $2 WHERE id = $1 AND password IS NULL RETURNING id"
# Only where the password is still the one that was just checked.
_PUT_NEXT = "UPDATE staff SET password = $2 WHERE id = $1 AND password = $3 RETURNING id"
_DRAFT = "UPDATE staff_session SET totp_draft = $2 WHERE id = $1"
_ENROL = """UPDATE staff SET totp = $2, totp_step = $3
WHERE id = $1 AND totp IS NULL AND totp_step < $3 RETURNING id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser in which somebody is signed in.

    needs_password, needs_totp: what the person has to set up before anything else.
    """

    id: UUID
    staff_id: UUID
    email: str
    name: str
    role: Role
    needs_password: bool
    needs_totp: bool
    has_totp: bool
    confirmed_at: datetime | None
    created_at: datetime
    totp_draft: str | None

    @property
    def ready(self) -> bool:
        return not (self.needs_password or self.needs_totp)

    @property
    def actor(self) -> Actor:
        return Actor(
            kind="staff",
            name=self.email,
            role=self.role,
            staff_id=self.staff_id,
            session_id=self.id,
            confirmed_at=self.confirmed_at.timestamp() if self.confirmed_at else None,
            expires_at=(self.created_at + SESSION_LONGEST).timestamp(),
        )


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The cookie of a new session, and the one by which this device is known from now on."""

    token: str
    device: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """Somebody at the door. source: their address; device: the cookie of a known device, if any."""

    source: str
    device: str = ""


async def find(token: str, *, seen: bool = True) -> Session | None:
    """Whose cookie it is; None when it is nobody's (any more).

    seen: whether the person did something just now. An open page that only listens did not.
    """
    if not token:
        return None
    rows = await fetch(_FIND, staff.link_digest(token), SESSION_IDLE, SESSION_LONGEST, _SEEN_EVERY)
    if not rows:
        return None
    [row] = rows
    if seen and row["unseen"]:
        await fetch(_SEEN, row["id"])
    role = Role(row["role"])
    return Session(
        id=row["id"],
        staff_id=row["staff_id"],
        email=row["email"],
        name=row["name"],
        role=role,
        needs_password=row["password"] is None,
        needs_totp=row["totp"] is None and role in TWO_FACTORS,
        has_totp=row["totp"] is not None,
        confirmed_at=row["confirmed_at"],
        created_at=row["created_at"],
        totp_draft=row["totp_draft"],
    )


async def actor_of(token: str, *, seen: bool = True) -> Actor:
    """Who may do something with a cookie. Raises Unauthenticated.

    Who came by the link to a new account may look around for five minutes, and confirm nothing.
    Then a password has to be chosen.
    """
    session = await find(token, seen=seen)
    if session is None:
        raise Unauthenticated("Your session is over. Sign in again.")
    new = session.needs_password and datetime.now(UTC) - session.created_at < _UNFINISHED
    if not session.ready and not new:
        raise Unauthenticated("Finish setting up your account first: open /admin/.")
    return session.actor


# ── in and out ───────────────────────────────────────────────────────────────────────────────────


async def login(core: Core, knock: Knock, email: str, password: str, code: str = "") -> SignedIn:
    """A new session for who knows the password, and the code where one is needed.

    Raises SignInRefused, the same for whatever is wrong; TooManyTries; Retryable.
    """
    email = staff.same(email)[:254].encode("utf-8", "replace").decode().replace("\x00", "")
    rows = await fetch(_WHO, email)
    who = rows[0] if rows and rows[0]["disabled_at"] is None else None
    device = _device_of(core, knock.device, who["id"]) if who else None
    buckets = throttle.login_buckets(email, knock.source, device)
    await throttle.take(buckets)
    # Also for nobody: an account that is not there takes as long to refuse.
    right = await _matches(buckets, who["password"] if who else None, password)
    if who is None or not right or not await _code_is_right(core, who["id"], who["totp"], code):
        log.warning("security: sign-in refused", staff=str(rows[0]["id"]) if rows else None)
        # Also for nobody: see above.
        known = rows[0]["id"] if rows else None
        await staff.note(_nobody(), "staff.sign_in_refused", known, {})
        raise SignInRefused
    async with tx():
        token = await begin(who["id"], confirmed=True)
        await staff.note(_person(who), "staff.signed_in", who["id"], {"with": "password"})
    await throttle.succeeded(buckets)
    log.info("security: signed in", staff=str(who["id"]))
    return SignedIn(token, _device_cookie(core, who["id"], device), email)


async def begin(staff_id: UUID, *, confirmed: bool) -> str:
    """A session that somebody has earned; gives its cookie."""
    token = secrets.token_urlsafe(32)
    await fetch(_BEGIN, uuid4(), staff_id, staff.link_digest(token), confirmed)
    return token


async def end(token: str) -> None:
    """Signs out. Doing it again changes nothing."""
    session = await find(token, seen=False)
    if session is not None:
        async with tx():
            await fetch(_END, session.id)
            await staff.note(session.actor, "staff.signed_out", session.staff_id, {})


@dataclass(frozen=True, slots=True)
class Link:
    """A link that can still be used. needs_code: the person has a code generator, which stays."""

    email: str
    needs_code: bool


async def look_at_link(token: str) -> Link | None:
    """What a link is for; looking uses nothing up, as programs that preview links do it too."""
    rows = await fetch(_LINK, staff.link_digest(token))
    if not rows:
        return None
    [row] = rows
    return Link(row["email"], row["totp"] is not None and not row["reset_totp"])


async def use_link(core: Core, knock: Knock, token: str, code: str = "") -> SignedIn:
    """A session for who has a link, once. Raises SignInRefused, TooManyTries."""
    rows = await fetch(_LINK, staff.link_digest(token))
    if not rows:
        raise SignInRefused("This link was used, or it is too old. Ask for a new one.")
    [link] = rows
    staff_id = link["staff_id"]
    if link["totp"] is not None and not link["reset_totp"]:
        await throttle.take([Bucket(about=("link", str(link["id"])), free=5, wait=60, most=900)])
        if not await _code_is_right(core, staff_id, link["totp"], code):
            log.warning("security: sign-in refused", staff=str(staff_id))
            await staff.note(_nobody(), "staff.sign_in_refused", staff_id, {})
            raise SignInRefused("The code is not right.")
    async with tx():
        if not await fetch(_USE_LINK, link["id"]):
            raise SignInRefused("This link was used, or it is too old. Ask for a new one.")
        if link["reset_password"] or link["reset_totp"]:
            await fetch(_FORGET, staff_id, link["reset_password"], link["reset_totp"])
            await staff.end_sessions(staff_id)
        # Whoever found the link knows no password yet.
        session = await begin(staff_id, confirmed=False)
        await staff.note(_person(link), "staff.signed_in", staff_id, {"with": "link"})
    log.info("security: signed in by link", staff=str(staff_id))
    device = _device_of(core, knock.device, staff_id)
    return SignedIn(session, _device_cookie(core, staff_id, device), link["email"])


# ── showing again that it is oneself ─────────────────────────────────────────────────────────────


async def confirm(core: Core, actor: Actor, password: str, code: str = "") -> datetime:
    """Notes that a person just showed who they are; gives when. Good for five minutes.

    Raises Forbidden for who is no person, Invalid; Unauthenticated after five wrong tries, for
    then the session ends.
    """
    if actor.staff_id is None or actor.session_id is None:
        raise Forbidden("Only a person who is signed in can confirm who they are.")
    await _show(core, actor, actor.staff_id, actor.session_id, password, code)
    async with tx():
        [row] = await fetch(_CONFIRM, actor.session_id)
        await staff.note(actor, "staff.confirmed", actor.staff_id, {})
    log.info("security: confirmed", staff=str(actor.staff_id))
    moment: datetime = row["confirmed_at"]
    return moment


async def change_password(
    core: Core, session: Session, password: str, new: str, code: str = ""
) -> None:
    """Signs the person out everywhere else. Raises Invalid, Unauthenticated as `confirm` does."""
    kept = await _show(core, session.actor, session.staff_id, session.id, password, code)
    await passwords.check(new, session.email, session.name)
    digest = await passwords.hashed(new)
    async with tx():
        if not await fetch(_PUT_NEXT, session.staff_id, digest, kept):
            raise Invalid("The password was changed elsewhere meanwhile.", field=["password"])
        await staff.end_sessions(session.staff_id, but=session.id)
        await staff.note(session.actor, "staff.password_changed", session.staff_id, {})


async def _show(
    core: Core, actor: Actor, staff_id: UUID, session_id: UUID, password: str, code: str
) -> str:
    """The kept password, for who knows it. Tries are counted before they are looked at.

    Raises Invalid, Retryable; Unauthenticated after five wrong tries, for then the session ends.
    """
    bucket = Bucket(about=("session", str(session_id)), free=1_000, wait=1, most=1)
    tries = await throttle.take([bucket])
    if tries <= GUESSES:
        [row] = await fetch(_CREDENTIALS, staff_id)
        kept: str | None = row["password"]
        if kept is None:
            raise Invalid("Choose a password first: open /admin/.", field=["password"])
        right = await _matches([bucket], kept, password)
        if right and await _code_is_right(core, staff_id, row["totp"], code):
            await throttle.succeeded([bucket])
            return kept
    async with tx():
        await staff.note(actor, "staff.confirmation_refused", staff_id, {})
        if tries >= GUESSES:
            await fetch(_END, session_id)
    log.warning("security: confirmation refused", staff=str(staff_id), tries=tries)
    if tries >= GUESSES:
        raise Unauthenticated("There were too many tries. Sign in again.")
    raise Invalid("The password or the code is not right.", field=["password"])


async def _matches(buckets: Sequence[Bucket], kept: str | None, password: str) -> bool:
    try:
        return await passwords.matches(kept, password)
    except Retryable:
        await throttle.not_looked_at(buckets)
        raise


# ── setting up ───────────────────────────────────────────────────────────────────────────────────


async def choose_password(session: Session, new: str) -> None:
    """The first password, or the one after a reset; as good as confirming. Raises Invalid."""
    if not session.needs_password:
        raise Invalid("There is a password already.", field=["password"])
    await passwords.check(new, session.email, session.name)
    digest = await passwords.hashed(new)
    async with tx():
        if not await fetch(_PUT_FIRST, session.staff_id, digest):
            raise Invalid("There is a password already.", field=["password"])
        await staff.end_sessions(session.staff_id, but=session.id)
        await fetch(_CONFIRM, session.id)
        await staff.note(session.actor, "staff.password_chosen", session.staff_id, {})


async def draft(core: Core, session: Session) -> str:
    """The secret of the code generator that is being set up, the same until it is."""
    if session.totp_draft is not None:
        try:
            return onetime.unseal(core.keyring, session.staff_id, session.totp_draft)
        except CannotStart:
            log.info("a draft of a code generator is begun anew: its key is gone")
    secret = onetime.new_secret()
    await fetch(_DRAFT, session.id, onetime.seal(core.keyring, session.staff_id, secret))
    return secret


async def enrol(core: Core, session: Session, code: str, password: str = "") -> None:
    """Takes the code generator in use, once it showed a right code. It confirms nothing.

    password: needed by who did not show for five minutes that it is them. A cookie alone must
        not choose the phone.
    Raises Invalid, Unauthenticated as `confirm` does.
    """
    if session.needs_password or not session.needs_totp:
        raise Invalid("Choose a password first.", field=["code"])
    if not session.actor.confirmed:
        await _show(core, session.actor, session.staff_id, session.id, password, "")
    secret = await draft(core, session)
    step = onetime.matching_step(secret, code)
    if step is None:
        raise Invalid(
            "The code is not right. Is the time on your phone right?", field=["code"]
        )  # fmt: skip
    sealed = onetime.seal(core.keyring, session.staff_id, secret)
    async with tx():
        if not await fetch(_ENROL, session.staff_id, sealed, step):
            raise Invalid("The code was used already. Wait for the next one.", field=["code"])
        await fetch(_DRAFT, session.id, None)
        await staff.end_sessions(session.staff_id, but=session.id)
        await staff.note(session.actor, "staff.code_generator_set_up", session.staff_id, {})


async def _code_is_right(core: Core, staff_id: UUID, sealed: str | None, code: str) -> bool:
    """Uses the code up. Whoever has no generator needs none."""
    if sealed is None:
        return True
    step = onetime.matching_step(onetime.unseal(core.keyring, staff_id, sealed), code)
    return step is not None and await onetime.spend(staff_id, step)


# ── devices ──────────────────────────────────────────────────────────────────────────────────────


def _device_of(core: Core, cookie: str, staff_id: UUID) -> str | None:
    """The device, if this person signed in on it before."""
    try:
        person, device = core.keyring.signer("staff-device").loads(cookie)
    except (BadSignature, ValueError, TypeError):
        return None
    return str(device) if person == staff_id.hex else None


def _device_cookie(core: Core, staff_id: UUID, device: str | None) -> str:
    known = [staff_id.hex, device or secrets.token_hex(8)]
    return str(core.keyring.signer("staff-device").dumps(known))


def _person(row: dict[str, Any]) -> Actor:
    return Actor(kind="staff", name=row["email"])


def _nobody() -> Actor:
    return Actor(kind="anonymous", name="somebody")
