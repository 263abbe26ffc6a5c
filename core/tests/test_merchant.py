"""Whose name stands on invoices: who may say it, and what is acceptable."""

import asyncio

import pytest
from core.tests.conftest import Shop

from dusangire.access import OPERATOR, Actor
from dusangire.errors import Conflict, Forbidden, Invalid
from dusangire.invoicing import merchant
from dusangire.invoicing.documents.logo import SVG, Logo
from dusangire.permissions import Role, Scope

LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="2" height="1"/></svg>'


async def test_what_is_left_out_stays_and_none_takes_away(shop: Shop) -> None:
    await merchant.save(OPERATOR, {"name": "Inyange", "phone": "0788", "logo": LOGO})

    saved = await merchant.save(OPERATOR, {"address": "KG 11\nKigali", "phone": None})

    assert (saved.name, saved.address, saved.phone) == ("Inyange", "KG 11\nKigali", None)
    assert saved.logo == Logo(LOGO, SVG)
    assert saved == await merchant.load()
    assert saved.version == 2


@pytest.mark.parametrize("tin", ["000111111", "102345678", " 999991130 "])
async def test_a_tin_of_nine_digits_is_kept_with_its_zeros(shop: Shop, tin: str) -> None:
    saved = await merchant.save(OPERATOR, {"name": "Inyange", "tin": tin})

    assert saved.tin == tin.strip()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tin": "12345678"}, "tin"),
        ({"tin": "1023456789"}, "tin"),
        ({"tin": "١٠٢٣٤٥٦٧٨"}, "tin"),
        ({"tin": "10234567a"}, "tin"),
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"email": "nobody"}, "email"),
        ({"locale": "sw"}, "locale"),
        ({"footer": "x" * 501}, "footer"),
        ({"footer": "Pay with 4111 1111 1111 1111"}, "footer"),
        ({"logo": b"GIF89a"}, "logo"),
        ({"vat_registered": True}, "tin"),
    ],
)
async def test_what_no_invoice_could_show_is_refused(
    shop: Shop, changes: merchant.Changes, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await merchant.save(OPERATOR, {**merchant.Changes(name="Inyange"), **changes})

    assert refused.value.field == (field,)
    assert await merchant.load() is None


async def test_a_merchant_without_a_name_is_refused(shop: Shop) -> None:
    with pytest.raises(Invalid):
        await merchant.save(OPERATOR, {"tin": "102345678"})


async def test_of_two_at_once_nothing_that_was_answered_is_lost(shop: Shop) -> None:
    await merchant.save(OPERATOR, {"name": "Inyange"})
    changes: list[merchant.Changes] = [
        {"footer": "f"}, {"phone": "p"}, {"address": "a"}, {"tin": "102345678"}, {"locale": "fr"},
    ]  # fmt: skip

    done = await asyncio.gather(
        *(merchant.save(OPERATOR, one) for one in changes), return_exceptions=True
    )

    saved = await merchant.load()
    assert saved is not None
    assert {type(one) for one in done} <= {merchant.Merchant, Conflict}
    for change, answer in zip(changes, done, strict=True):
        [(name, value)] = change.items()
        if isinstance(answer, merchant.Merchant):
            assert getattr(saved, name) == value


async def test_who_changed_what_is_in_the_audit_without_numbers_and_addresses(shop: Shop) -> None:
    phone = "+250788999111"
    await merchant.save(
        OPERATOR, {"name": "Inyange", "tin": "102345678", "phone": phone, "logo": LOGO}
    )

    entry = await shop.row("SELECT * FROM audit_entry WHERE action = 'merchant.saved'")

    assert (entry["actor_kind"], entry["object"]) == ("operator", "merchant")
    assert '"102345678"' in entry["detail"]
    assert '"phone"' in entry["detail"]
    assert phone not in entry["detail"]
    assert "logo_sha256" in entry["detail"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
async def test_only_an_administrator_says_who_the_merchant_is(shop: Shop, role: Role) -> None:
    person = Actor(kind="staff", name="x@shop.test", role=role)

    with pytest.raises(Forbidden):
        await merchant.save(person, {"name": "Mine now"})

    assert await merchant.merchant(person) is None


async def test_a_payer_does_not_read_the_profile(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        await merchant.merchant(Actor(kind="client", name="payer"))


async def test_a_key_that_takes_payments_reads_it_and_does_not_change_it(shop: Shop) -> None:
    key = Actor(kind="api_key", name="shop", scopes=frozenset({Scope.PAYMENTS_WRITE}))

    assert await merchant.merchant(key) is None
    with pytest.raises(Forbidden):
        await merchant.save(key, {"name": "Mine now"})
