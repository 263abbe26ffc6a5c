"""Accounts of people: how they begin, what they may do, and who cannot be sent away."""

import asyncio
import time
from uuid import uuid4

import pytest
from core.tests.conftest import Shop

from dusangire import rotation
from dusangire.access import OPERATOR, Actor, create_api_key
from dusangire.errors import (
    ConfirmationNeeded,
    Conflict,
    Forbidden,
    IllegalState,
    Invalid,
    SignInRefused,
)
from dusangire.keyring import Keyring
from dusangire.people import sessions, staff
from dusangire.people.sessions import Knock
from dusangire.people.staff import Person
from dusangire.permissions import Permission, Role, Scope

KNOCK = Knock(source="192.0.2.1")


async def make(shop: Shop, role: Role = Role.ADMIN, email: str = "aline@shop.test") -> Person:
    return (await staff.create(shop.core, OPERATOR, email=email, role=role)).person


def acting(person: Person, *, fresh: bool = True) -> Actor:
    at = time.time() if fresh else None
    return Actor(
        kind="staff", name=person.email, role=person.role, staff_id=person.id, confirmed_at=at
    )


async def test_s28_there_is_no_account_to_begin_with(shop: Shop) -> None:
    assert await staff.people(OPERATOR) == []
    with pytest.raises(SignInRefused):
        await sessions.login(shop.core, KNOCK, "admin@demo.test", "admin")


async def test_an_account_begins_with_a_link_and_nothing_else(shop: Shop) -> None:
    invited = await staff.create(shop.core, OPERATOR, email=" Aline@Shop.Test ", role=Role.OPERATOR)

    person = invited.person
    assert (person.email, person.name, person.role) == ("aline@shop.test", "aline", Role.OPERATOR)
    assert not person.has_password
    assert invited.login_url.startswith("https://pay.example.rw/admin/link/")


async def test_a_link_is_kept_as_a_digest(shop: Shop) -> None:
    invited = await staff.create(shop.core, OPERATOR, email="a@shop.test", role=Role.ADMIN)
    token = invited.login_url.rpartition("/")[2]

    rows = await shop.rows(
        "SELECT l::text AS line FROM staff_link l "
        "UNION ALL SELECT a::text FROM audit_entry a UNION ALL SELECT s::text FROM staff s"
    )

    assert len(token) * 6 >= 256
    assert not [row for row in rows if token in row["line"]]


@pytest.mark.parametrize(
    "email", ["", "aline", "a@b", "a b@shop.test", "a@shop.test\n", "@shop.test", "a@shop..test"]
)
async def test_what_is_no_address_is_no_account(shop: Shop, email: str) -> None:
    if email.endswith("\n"):
        email = "a\nb@shop.test"

    with pytest.raises(Invalid):
        await make(shop, email=email)


async def test_an_address_has_one_account(shop: Shop) -> None:
    await make(shop)

    with pytest.raises(Conflict):
        await make(shop, email="ALINE@shop.test")


async def test_the_last_administrator_stays(shop: Shop) -> None:
    only = await make(shop)
    await staff.disable(OPERATOR, (await make(shop, email="gone@shop.test")).id)

    for refused in (
        staff.disable(OPERATOR, only.id),
        staff.change_role(OPERATOR, only.id, Role.APPROVER),
    ):
        with pytest.raises(IllegalState):
            await refused
    assert (await staff.find(OPERATOR, only.email)).disabled_at is None


async def test_administrators_who_end_each_other_at_once_leave_one(shop: Shop) -> None:
    admins = [await make(shop, email=f"admin{n}@shop.test") for n in range(8)]

    await asyncio.gather(
        *(staff.disable(OPERATOR, admin.id) for admin in admins), return_exceptions=True
    )

    left = [person for person in await staff.people(OPERATOR) if person.disabled_at is None]
    assert len(left) == 1


async def test_nobody_changes_their_own_role(shop: Shop) -> None:
    one, _ = await make(shop), await make(shop, email="other@shop.test")

    with pytest.raises(Forbidden):
        await staff.change_role(acting(one), one.id, Role.VIEWER)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
async def test_only_administrators_manage_people(shop: Shop, role: Role) -> None:
    actor = acting(await make(shop, role))

    for refused in (
        staff.create(shop.core, actor, email="x@shop.test", role=Role.ADMIN),
        staff.change_role(actor, uuid4(), Role.ADMIN),
        staff.disable(actor, uuid4()),
        staff.enable(actor, uuid4()),
        staff.new_link(shop.core, actor, uuid4()),
        staff.people(actor),
    ):
        with pytest.raises(Forbidden):
            await refused


async def test_s26_an_administrator_confirms_first(shop: Shop) -> None:
    stale = acting(await make(shop), fresh=False)

    with pytest.raises(ConfirmationNeeded):
        await staff.create(shop.core, stale, email="x@shop.test", role=Role.ADMIN)


async def test_changes_to_accounts_are_in_the_audit_log(shop: Shop) -> None:
    admin, other = await make(shop), await make(shop, Role.VIEWER, "o@shop.test")
    actor = acting(admin)

    await staff.change_role(actor, other.id, Role.OPERATOR)
    await staff.new_link(shop.core, actor, other.id, reset_password=True)
    await staff.disable(actor, other.id)
    await staff.enable(actor, other.id)

    rows = await shop.rows(
        "SELECT action, detail->>'to' AS role FROM audit_entry "
        "WHERE actor_name = $1 AND object = $2 ORDER BY id",
        admin.email,
        f"staff:{other.id}",
    )
    assert [row["action"] for row in rows] == [
        "staff.role_changed",
        "staff.link_made",
        "staff.disabled",
        "staff.enabled",
    ]
    assert rows[0]["role"] == "OPERATOR"


async def test_a_key_remembers_who_made_it(shop: Shop) -> None:
    admin = await make(shop)

    _, by_admin = await create_api_key(acting(admin), "till", [Scope.REFUNDS_REQUEST])
    _, by_command = await create_api_key(OPERATOR, "cron", [Scope.REFUNDS_REQUEST])

    authenticator = shop.core.authenticator
    assert (await authenticator.actor(by_admin)).staff_id == admin.id
    assert (await authenticator.actor(by_command)).staff_id is None
    assert not (await authenticator.actor(by_admin)).may(Permission.DECIDE_REFUNDS)


async def test_s50_code_generators_are_sealed_anew(shop: Shop) -> None:
    person = await make(shop)
    old = shop.core.keyring
    sealed = old.seal("JBSWY3DPEHPK3PXP", owner=f"staff:{person.id}", field="totp")
    await shop.run("UPDATE staff SET totp = $1", sealed)
    shop.core.keyring = Keyring({"k2": b"n" * 32, **old.keys})

    first = await rotation.rotate(shop.core, OPERATOR)
    second = await rotation.rotate(shop.core, OPERATOR)

    blob = await shop.value("SELECT totp FROM staff")
    newest = Keyring({"k2": b"n" * 32})
    assert (first.code_generators, second.code_generators) == (1, 0)
    assert newest.unseal(blob, owner=f"staff:{person.id}", field="totp") == "JBSWY3DPEHPK3PXP"
