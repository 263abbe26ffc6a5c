"""Signing in: what lets people in, what does not, and that guessing leads nowhere."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import zxcvbn
from core.tests.conftest import Shop

from dusangire.access import OPERATOR, Actor, valid_sessions
from dusangire.database import fetch
from dusangire.errors import (
    ConfirmationNeeded,
    Forbidden,
    Invalid,
    Retryable,
    SignInRefused,
    TooManyTries,
    Unauthenticated,
)
from dusangire.people import onetime, passwords, sessions, staff, throttle
from dusangire.people.sessions import Knock, Session, SignedIn
from dusangire.permissions import Permission, Role

PASSPHRASE = "umbrella tiger violin sunday"
HERE, ELSEWHERE = Knock(source="192.0.2.1"), Knock(source="198.51.100.7")


@dataclass(frozen=True, slots=True)
class Someone:
    """A person who set up everything. device: the cookie of the device they did it on."""

    email: str
    token: str
    secret: str
    device: str


async def invited(shop: Shop, role: Role = Role.ADMIN, email: str = "aline@shop.test") -> str:
    """The secret part of a new person's link."""
    made = await staff.create(shop.core, OPERATOR, email=email, role=role)
    return made.login_url.rpartition("/")[2]


async def session_of(token: str) -> Session:
    found = await sessions.find(token)
    assert found is not None
    return found


async def ready(shop: Shop, role: Role = Role.ADMIN, email: str = "aline@shop.test") -> Someone:
    signed = await sessions.use_link(shop.core, HERE, await invited(shop, role, email))
    await sessions.choose_password(await session_of(signed.token), PASSPHRASE)
    secret = ""
    if (await session_of(signed.token)).needs_totp:
        secret = await sessions.draft(shop.core, await session_of(signed.token))
        code = onetime.code_at(secret, time.time())
        await sessions.enrol(shop.core, await session_of(signed.token), code)
    return Someone(email, signed.token, secret, signed.device)


async def next_code(shop: Shop, who: Someone) -> str:
    """A code that was not used, as if the last one were long ago."""
    await shop.run("UPDATE staff SET totp_step = 0 WHERE email = $1", who.email)
    return onetime.code_at(who.secret, time.time()) if who.secret else ""


async def sign_in(shop: Shop, who: Someone, knock: Knock = HERE, **changes: str) -> SignedIn:
    code = changes.get("code", await next_code(shop, who))
    password = changes.get("password", PASSPHRASE)
    return await sessions.login(shop.core, knock, who.email, password, code)


async def forget_tries(shop: Shop) -> None:
    await shop.run("DELETE FROM login_throttle")


# ── links ────────────────────────────────────────────────────────────────────────────────────────


async def test_s30_a_link_works_once_however_many_try(shop: Shop) -> None:
    link = await invited(shop)

    results = await asyncio.gather(
        *(sessions.use_link(shop.core, HERE, link) for _ in range(50)), return_exceptions=True
    )

    kinds = Counter(type(result).__name__ for result in results)
    assert kinds == {"SignedIn": 1, "SignInRefused": 49}
    assert await shop.value("SELECT count(*) FROM staff_session") == 1


async def test_looking_at_a_link_uses_nothing_up(shop: Shop) -> None:
    link = await invited(shop)

    looks = [await sessions.look_at_link(link) for _ in range(3)]

    assert all(look is not None and look.email == "aline@shop.test" for look in looks)
    await sessions.use_link(shop.core, HERE, link)
    assert await sessions.look_at_link(link) is None


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE staff_link SET expires_at = now()",
        "UPDATE staff_link SET used_at = now()",
        "UPDATE staff SET disabled_at = now()",
    ],
)
async def test_a_link_that_is_old_used_or_of_a_disabled_person_opens_nothing(
    shop: Shop, spoil: str
) -> None:
    link = await invited(shop)
    await shop.run(spoil)

    with pytest.raises(SignInRefused):
        await sessions.use_link(shop.core, HERE, link)


async def test_a_link_lives_for_fifteen_minutes(shop: Shop) -> None:
    await invited(shop)

    life = await shop.value(
        "SELECT extract(epoch FROM expires_at - created_at)::int FROM staff_link"
    )

    assert life == 15 * 60


async def test_a_new_link_ends_the_one_before(shop: Shop) -> None:
    first = await invited(shop)
    person = await staff.find(OPERATOR, "aline@shop.test")

    await staff.new_link(shop.core, OPERATOR, person.id)

    with pytest.raises(SignInRefused):
        await sessions.use_link(shop.core, HERE, first)


async def test_a_link_does_not_stand_in_for_the_phone(shop: Shop) -> None:
    who = await ready(shop)
    person = await staff.find(OPERATOR, who.email)
    made = await staff.new_link(shop.core, OPERATOR, person.id, reset_password=True)
    link = made.login_url.rpartition("/")[2]

    with pytest.raises(SignInRefused):
        await sessions.use_link(shop.core, HERE, link, "000000")
    signed = await sessions.use_link(shop.core, HERE, link, await next_code(shop, who))

    assert (await session_of(signed.token)).needs_password


async def test_a_reset_signs_out_everywhere_and_asks_for_both_anew(shop: Shop) -> None:
    who = await ready(shop)
    person = await staff.find(OPERATOR, who.email)
    made = await staff.new_link(
        shop.core, OPERATOR, person.id, reset_password=True, reset_totp=True
    )
    assert await sessions.find(who.token) is not None, "nothing is reset before it is used"

    signed = await sessions.use_link(shop.core, HERE, made.login_url.rpartition("/")[2])

    assert await sessions.find(who.token) is None
    session = await session_of(signed.token)
    assert (session.needs_password, session.needs_totp) == (True, True)


# ── setting up ───────────────────────────────────────────────────────────────────────────────────


async def test_who_has_not_set_up_everything_can_do_nothing_after_five_minutes(shop: Shop) -> None:
    signed = await sessions.use_link(shop.core, HERE, await invited(shop))

    assert (await sessions.actor_of(signed.token)).role is Role.ADMIN
    await fetch("UPDATE staff_session SET created_at = now() - interval '301 seconds'")
    with pytest.raises(Unauthenticated):
        await sessions.actor_of(signed.token)
    await sessions.choose_password(await session_of(signed.token), PASSPHRASE)
    with pytest.raises(Unauthenticated):
        await sessions.actor_of(signed.token)
    secret = await sessions.draft(shop.core, await session_of(signed.token))
    code = onetime.code_at(secret, time.time())
    await sessions.enrol(shop.core, await session_of(signed.token), code)

    actor = await sessions.actor_of(signed.token)
    assert (actor.role, actor.confirmed) == (Role.ADMIN, True)


async def test_s26_a_link_alone_decides_nothing_and_confirms_nothing(shop: Shop) -> None:
    signed = await sessions.use_link(shop.core, HERE, await invited(shop, Role.APPROVER))
    actor = await sessions.actor_of(signed.token)

    actor.require(Permission.READ_REFUNDS)
    with pytest.raises(ConfirmationNeeded):
        actor.require(Permission.DECIDE_REFUNDS)
    with pytest.raises(Invalid, match="Choose a password first"):
        await sessions.confirm(shop.core, actor, "")


async def test_s26_a_cookie_alone_chooses_no_phone(shop: Shop) -> None:
    who = await ready(shop, Role.OPERATOR)
    await fetch("UPDATE staff_session SET confirmed_at = now() - interval '301 seconds'")
    await staff.change_role(
        OPERATOR, (await staff.find(OPERATOR, who.email)).id, Role.APPROVER
    )  # fmt: skip
    secret = await sessions.draft(shop.core, await session_of(who.token))
    session, code = await session_of(who.token), onetime.code_at(secret, time.time())

    for password in ("", "not the password"):
        with pytest.raises(Invalid):
            await sessions.enrol(shop.core, session, code, password)
    assert await shop.value("SELECT totp FROM staff") is None
    await sessions.enrol(shop.core, session, code, PASSPHRASE)

    actor = await sessions.actor_of(who.token)
    with pytest.raises(ConfirmationNeeded):
        actor.require(Permission.DECIDE_REFUNDS)


async def test_s24_guessing_the_password_to_choose_a_phone_ends_the_session(shop: Shop) -> None:
    who = await ready(shop, Role.OPERATOR)
    await shop.run("UPDATE staff SET role = 'APPROVER'")
    await shop.run("UPDATE staff_session SET confirmed_at = NULL")
    session = await session_of(who.token)

    for _ in range(4):
        with pytest.raises(Invalid):
            await sessions.enrol(shop.core, session, "000000", "a wrong guess")
    with pytest.raises(Unauthenticated):
        await sessions.enrol(shop.core, session, "000000", "a wrong guess")

    assert await sessions.find(who.token) is None


async def test_a_viewer_needs_no_phone(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)

    assert (await sessions.actor_of(who.token)).role is Role.VIEWER


async def test_whoever_is_raised_to_approver_sets_up_a_phone_first(shop: Shop) -> None:
    who = await ready(shop, Role.OPERATOR)
    person = await staff.find(OPERATOR, who.email)

    await staff.change_role(OPERATOR, person.id, Role.APPROVER)

    with pytest.raises(Unauthenticated):
        await sessions.actor_of(who.token)


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "elevenchars",
        "password1234",
        "aaaaaaaaaaaaaaaa",
        "aline@shop.test",
        "qwertyuiopasdf",
        "dusangire2026",
        "x" * 129,
    ],
)
async def test_s24_a_password_that_is_short_or_common_is_not_taken(
    shop: Shop, password: str
) -> None:
    signed = await sessions.use_link(shop.core, HERE, await invited(shop))

    with pytest.raises(Invalid):
        await sessions.choose_password(await session_of(signed.token), password)

    assert await shop.value("SELECT password FROM staff") is None


async def test_s24_a_hostile_new_password_is_looked_at_late_shortly_and_aside(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = await ready(shop, Role.VIEWER)
    looked: list[tuple[int, str]] = []

    def score(password: str, **_: Any) -> dict[str, int]:
        looked.append((len(password), threading.current_thread().name))
        return {"score": 0}

    monkeypatch.setattr(zxcvbn, "zxcvbn", score)
    hostile = "4@8({[<369!1|0$5+7%2" * 4
    session = await session_of(who.token)
    for password in ("not the password", PASSPHRASE):
        with pytest.raises(Invalid):
            await sessions.change_password(shop.core, session, password, hostile)

    assert looked == [(30, "new password_0")]


async def test_s52_nothing_secret_of_a_person_is_kept_in_clear(shop: Shop) -> None:
    who = await ready(shop)
    await sign_in(shop, who)

    lines: list[str] = []
    for table in ("staff", "staff_session", "staff_link", "login_throttle", "audit_entry"):
        lines += [
            row["line"] for row in await shop.rows(f'SELECT t::text AS line FROM "{table}" t')
        ]

    for secret in (who.token, who.secret, who.device, PASSPHRASE, HERE.source):
        assert not [line for line in lines if secret in line]
    assert (await shop.value("SELECT password FROM staff")).startswith("$argon2id$")


# ── signing in ───────────────────────────────────────────────────────────────────────────────────


async def test_password_and_code_let_in_and_count_as_fresh(shop: Shop) -> None:
    who = await ready(shop)

    signed = await sign_in(shop, who)

    actor = await sessions.actor_of(signed.token)
    assert (actor.kind, actor.name, actor.confirmed) == ("staff", who.email, True)
    assert signed.token != who.token


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "umbrella tiger violin monday"},
        {"password": ""},
        {"password": PASSPHRASE + "\x00"},
        {"code": ""},
        {"code": "000000"},
        {"code": "one two"},
        {"code": "١٢٣٤٥٦"},
    ],
)
async def test_s24_whatever_is_wrong_the_answer_is_the_same(
    shop: Shop, wrong: dict[str, str]
) -> None:
    who = await ready(shop)

    with pytest.raises(SignInRefused) as refused:
        await sign_in(shop, who, HERE, **wrong)
    with pytest.raises(SignInRefused) as unknown:
        await sessions.login(shop.core, HERE, "nobody@shop.test", PASSPHRASE, "000000")

    assert str(refused.value) == str(unknown.value)


class _Counting:
    """The hasher, and how often it looked at a password."""

    def __init__(self, hasher: Any) -> None:
        self._hasher, self.looks = hasher, 0

    def verify(self, kept: str, password: str) -> Any:
        self.looks += 1
        return self._hasher.verify(kept, password)


@pytest.mark.parametrize("who", ["known", "unknown", "disabled", "without a password"])
async def test_s24_everybody_costs_one_look_at_a_password(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    await ready(shop, email="known@shop.test")
    gone = await ready(shop, Role.VIEWER, "disabled@shop.test")
    await staff.disable(OPERATOR, (await staff.find(OPERATOR, gone.email)).id)
    await invited(shop, email="without@shop.test")
    passwords._decoy()
    counting = _Counting(passwords._HASHER)
    monkeypatch.setattr(passwords, "_HASHER", counting)

    with pytest.raises(SignInRefused):
        await sessions.login(shop.core, HERE, f"{who.split(maxsplit=1)[0]}@shop.test", "wrong", "1")

    assert counting.looks == 1


async def test_s24_a_code_is_good_once_however_many_bring_it(shop: Shop) -> None:
    who = await ready(shop)
    code = await next_code(shop, who)
    knocks = [Knock(source="192.0.2.1", device=who.device)] * 8

    results = await asyncio.gather(
        *(sessions.login(shop.core, knock, who.email, PASSPHRASE, code) for knock in knocks),
        return_exceptions=True,
    )

    assert Counter(type(result).__name__ for result in results)["SignedIn"] == 1


async def test_a_phone_whose_clock_is_half_a_minute_off_is_good(shop: Shop) -> None:
    who = await ready(shop)
    await next_code(shop, who)
    late = onetime.code_at(who.secret, time.time() + onetime.STEP)

    assert (await sign_in(shop, who, code=late)).email == who.email


# ── guessing ─────────────────────────────────────────────────────────────────────────────────────


async def test_s24_of_a_thousand_tries_five_are_looked_at(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)
    # More at once would wait for a connection longer than the pool lets anybody wait.
    at_once = asyncio.Semaphore(50)

    async def guess(n: int) -> None:
        async with at_once:
            await sessions.login(shop.core, ELSEWHERE, who.email, f"guess number {n}")

    results = await asyncio.gather(*map(guess, range(1_000)), return_exceptions=True)

    kinds = Counter(type(result).__name__ for result in results)
    assert kinds == {"SignInRefused": 5, "TooManyTries": 995}
    assert await shop.value(
        "SELECT count(*) FROM audit_entry WHERE action = 'staff.sign_in_refused'"
    ) == 5  # fmt: skip


async def test_s24_a_stranger_at_the_same_address_delays_nobody_for_long(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)
    for _ in range(15):
        await shop.run("UPDATE login_throttle SET blocked_until = now() - interval '1 s'")
        with pytest.raises(SignInRefused):
            await sessions.login(shop.core, HERE, who.email, "a wrong guess")

    with pytest.raises(TooManyTries) as refused:
        await sign_in(shop, who)

    assert refused.value.wait <= 30


async def test_s24_a_queue_that_is_full_turns_away_and_counts_no_try(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = await ready(shop, Role.VIEWER)
    hurdle = _Hurdle(passwords._HASHER)
    monkeypatch.setattr(passwords, "_HASHER", hurdle)
    knocks = [Knock(source=f"198.51.100.{n}") for n in range(40)]
    waiting = [
        asyncio.create_task(sessions.login(shop.core, knock, f"nobody{n}@shop.test", "wrong"))
        for n, knock in enumerate(knocks)
    ]
    done, queued = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 40 - 34:
        more, queued = await asyncio.wait(queued, return_when=asyncio.FIRST_COMPLETED)
        done |= more

    assert {type(task.exception()) for task in done} == {Retryable}
    for _ in range(10):
        with pytest.raises(Retryable):
            await sign_in(shop, who)
        with pytest.raises(Retryable):
            await confirmed(shop, who, PASSPHRASE, "")
    hurdle.open.set()
    await asyncio.gather(*queued, return_exceptions=True)

    assert (await sign_in(shop, who)).email == who.email
    assert await confirmed(shop, who, PASSPHRASE, "")


class _Hurdle:
    """A hasher that waits until it may go on."""

    def __init__(self, hasher: Any) -> None:
        self._hasher, self.open = hasher, threading.Event()

    def hash(self, password: str) -> Any:
        return self._hasher.hash(password)

    def verify(self, kept: str, password: str) -> Any:
        assert self.open.wait(60)
        return self._hasher.verify(kept, password)


async def test_s24_somebody_elses_guesses_lock_nobody_out(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)
    for n in range(40):
        knock = Knock(source=f"198.51.100.{n}")
        with pytest.raises((SignInRefused, TooManyTries)):
            await sessions.login(shop.core, knock, who.email, "a wrong guess")

    with pytest.raises(TooManyTries):
        await sign_in(shop, who, Knock(source="203.0.113.9"))
    signed = await sign_in(shop, who, Knock(source="203.0.113.9", device=who.device))

    assert await sessions.find(signed.token) is not None


async def test_a_device_is_known_for_its_own_person_only(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)
    other = await ready(shop, Role.VIEWER, "other@shop.test")
    knock = Knock(source=ELSEWHERE.source, device=other.device)

    for _ in range(5):
        with pytest.raises(SignInRefused):
            await sessions.login(shop.core, knock, who.email, "a wrong guess")

    with pytest.raises(TooManyTries):
        await sessions.login(shop.core, knock, who.email, PASSPHRASE)


async def test_guessing_on_a_known_device_is_slowed_down_too(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)
    knock = Knock(source=HERE.source, device=who.device)

    for _ in range(10):
        with pytest.raises(SignInRefused):
            await sessions.login(shop.core, knock, who.email, "a wrong guess")

    with pytest.raises(TooManyTries) as refused:
        await sign_in(shop, who, knock)
    assert 1 <= refused.value.wait <= 30


async def test_who_gets_it_right_begins_anew(shop: Shop) -> None:
    who = await ready(shop, Role.VIEWER)

    for _ in range(3):
        for _ in range(4):
            with pytest.raises(SignInRefused):
                await sessions.login(shop.core, HERE, who.email, "a wrong guess")
        await sign_in(shop, who)

    assert await shop.value("SELECT count(*) FROM staff_session WHERE ended_at IS NULL") == 4


async def test_waiting_grows_to_a_quarter_of_an_hour_and_no_further(shop: Shop) -> None:
    bucket = throttle.Bucket(about=("test",), free=2, wait=30, most=900)
    waits = []

    for _ in range(10):
        await throttle.take([bucket])
        waits.append(
            await shop.value(
                "SELECT extract(epoch FROM blocked_until - last_at)::int FROM login_throttle"
            )
        )
        await shop.run("UPDATE login_throttle SET blocked_until = now()")

    assert waits == [0, 30, 60, 120, 240, 480, 900, 900, 900, 900]


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE staff_session SET ended_at = now()",
        "UPDATE staff_session SET last_seen_at = now() - interval '30 min'",
        "UPDATE staff_session SET created_at = now() - interval '12 h'",
        "UPDATE staff SET disabled_at = now()",
    ],
)
async def test_s25_a_session_ends(shop: Shop, change: str) -> None:
    who = await ready(shop)
    actor = await sessions.actor_of(who.token)
    assert await valid_sessions([actor]) == {actor.session_id}

    await shop.run(change)

    assert await sessions.find(who.token) is None
    assert await valid_sessions([actor]) == set()


async def test_s25_a_session_goes_on_until_then(shop: Shop) -> None:
    who = await ready(shop)
    await shop.run(
        "UPDATE staff_session SET created_at = now() - interval '11 h 59 min', "
        "last_seen_at = now() - interval '29 min'"
    )

    await sessions.find(who.token, seen=False)
    idle = "SELECT extract(epoch FROM now() - last_seen_at)::int FROM staff_session"
    assert await shop.value(idle) >= 29 * 60, "a page that listens is nobody who does something"
    await sessions.find(who.token)

    assert await shop.value(idle) < 60


async def test_s18_a_changed_role_ends_what_was_opened_with_the_old_one(shop: Shop) -> None:
    who = await ready(shop)
    await ready(shop, email="other@shop.test")
    actor = await sessions.actor_of(who.token)

    await staff.change_role(OPERATOR, (await staff.find(OPERATOR, who.email)).id, Role.APPROVER)

    assert await valid_sessions([actor]) == set()
    assert (await sessions.actor_of(who.token)).role is Role.APPROVER


async def test_signing_out_counts_at_once_and_twice_is_once(shop: Shop) -> None:
    who = await ready(shop)

    await sessions.end(who.token)
    await sessions.end(who.token)

    assert await sessions.find(who.token) is None
    with pytest.raises(Unauthenticated):
        await sessions.actor_of(who.token)


@pytest.mark.parametrize("token", ["", "x", "\x00", "é", "\ud800", "a" * 100_000])
async def test_what_is_no_cookie_is_nobody(shop: Shop, token: str) -> None:
    assert await sessions.find(token) is None


async def test_s25_a_new_password_ends_the_other_sessions(shop: Shop) -> None:
    who = await ready(shop)
    other = await sign_in(shop, who)
    session, code = await session_of(who.token), await next_code(shop, who)

    await sessions.change_password(
        shop.core, session, PASSPHRASE, "seven purple boats at noon", code
    )

    assert await sessions.find(who.token) is not None
    assert await sessions.find(other.token) is None
    with pytest.raises(SignInRefused):
        await sign_in(shop, who)
    assert (await sign_in(shop, who, password="seven purple boats at noon")).token


# ── confirming ───────────────────────────────────────────────────────────────────────────────────


async def confirmed(shop: Shop, who: Someone, password: str, code: str) -> bool:
    await sessions.confirm(shop.core, await sessions.actor_of(who.token), password, code)
    return (await sessions.actor_of(who.token)).confirmed


async def test_s26_password_and_code_confirm_for_five_minutes(shop: Shop) -> None:
    who = await ready(shop)
    await shop.run("UPDATE staff_session SET confirmed_at = now() - interval '5 min'")
    assert not (await sessions.actor_of(who.token)).confirmed

    assert await confirmed(shop, who, PASSPHRASE, await next_code(shop, who))


@pytest.mark.parametrize(
    ("password", "code"), [(PASSPHRASE, ""), (PASSPHRASE, "000000"), ("no", "")]
)
async def test_s26_half_of_it_confirms_nothing(shop: Shop, password: str, code: str) -> None:
    who = await ready(shop)
    await shop.run("UPDATE staff_session SET confirmed_at = NULL")
    right = await next_code(shop, who)

    with pytest.raises(Invalid):
        await confirmed(shop, who, password, code or (right if password == "no" else ""))

    assert not (await sessions.actor_of(who.token)).confirmed


async def test_a_session_whose_holder_guesses_ends(shop: Shop) -> None:
    who = await ready(shop)
    actor = await sessions.actor_of(who.token)

    results = await asyncio.gather(
        *(sessions.confirm(shop.core, actor, f"guess {n}") for n in range(30)),
        return_exceptions=True,
    )

    kinds = Counter(type(result).__name__ for result in results)
    assert kinds == {"Invalid": 4, "Unauthenticated": 26}
    assert await sessions.find(who.token) is None


async def test_only_a_person_can_confirm(shop: Shop) -> None:
    for actor in (OPERATOR, Actor(kind="api_key", name="till", staff_id=None)):
        with pytest.raises(Forbidden):
            await sessions.confirm(shop.core, actor, PASSPHRASE)
