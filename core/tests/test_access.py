"""Who is let in, and for how long."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from core.tests.conftest import Shop, until
from itsdangerous import URLSafeSerializer

from dusangire import access
from dusangire.access import KEY_MEMORY, OPERATOR, Actor, Authenticator
from dusangire.errors import Forbidden, Invalid, NotFound, Unauthenticated
from dusangire.keyring import Keyring
from dusangire.permissions import Permission, Scope

PAYMENT = UUID("5f0c2f1e-7d4a-4c0e-9a53-0b9f6a1c2d3e")


def ring(byte: bytes, key_id: str = "k1") -> Keyring:
    return Keyring({key_id: byte * 32})


# ── API keys ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_lets_its_holder_in_with_its_scopes(shop: Shop) -> None:
    key, token = await access.create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])

    actor = await shop.core.authenticator.actor(token)

    assert (actor.kind, actor.name, actor.key_id) == ("api_key", "till", key.id)
    assert actor.may(Permission.READ_PAYMENTS)
    assert not actor.may(Permission.WRITE_PAYMENTS)
    assert token.startswith(key.prefix)


async def test_only_a_digest_of_a_key_is_kept(shop: Shop) -> None:
    _, token = await access.create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    secret = token.split("_")[2]

    rows = await shop.rows("SELECT k::text AS line FROM api_key k")
    audit = await shop.rows("SELECT a::text AS line FROM audit_entry a")

    assert len(bytes.fromhex(secret)) * 8 >= 128
    assert not [row for row in [*rows, *audit] if secret in row["line"]]


async def test_a_revoked_key_is_out_within_five_seconds(shop: Shop) -> None:
    key, token = await access.create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    await shop.core.authenticator.actor(token)
    await access.revoke_api_key(OPERATOR, key.id)

    async def out() -> bool:
        try:
            await shop.core.authenticator.actor(token)
        except Unauthenticated:
            return True
        return False

    await until(out, within=5)

    assert KEY_MEMORY < 5
    with pytest.raises(Unauthenticated):
        await Authenticator(shop.core.keyring).actor(token)


async def test_two_keys_are_alive_during_a_rotation(shop: Shop) -> None:
    old, old_token = await access.create_api_key(OPERATOR, "old", [Scope.PAYMENTS_WRITE])
    _, new_token = await access.create_api_key(OPERATOR, "new", [Scope.PAYMENTS_WRITE])

    await shop.core.authenticator.actor(old_token)
    await access.revoke_api_key(OPERATOR, old.id)

    assert (await shop.core.authenticator.actor(new_token)).name == "new"


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "",
        lambda token: "dpk_",
        lambda token: "dpk__",
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token.rsplit("_", 1)[0],
        lambda token: token.rsplit("_", 1)[0] + "_",
        lambda token: token.upper(),
        lambda token: token.replace("dpk_", "dpx_"),
        lambda token: token.replace("dpk_", "dpk_\x00"),
        lambda token: token + "\x00",
        lambda token: "dpk_\ud800_\ud800",
        lambda token: "dpk_é_é",
        lambda token: "dpk_' OR 1=1 --_x",
        lambda token: "dpk_" + "a" * 1_000_000,
    ],
)
async def test_a_token_that_is_not_quite_right_is_not_right(shop: Shop, forge: Any) -> None:
    _, token = await access.create_api_key(OPERATOR, "till", [Scope.ADMIN])
    await shop.core.authenticator.actor(token)

    with pytest.raises(Unauthenticated):
        await shop.core.authenticator.actor(forge(token))


async def test_a_key_in_use_is_noted(shop: Shop) -> None:
    _, token = await access.create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    await shop.core.authenticator.actor(token)

    [key] = await access.list_api_keys(OPERATOR)

    assert key.last_used_at is not None


@pytest.mark.parametrize(
    ("name", "scopes"),
    [("", [Scope.ADMIN]), ("x" * 101, [Scope.ADMIN]), ("\x00", [Scope.ADMIN]), ("till", [])],
)
async def test_a_key_needs_a_name_and_a_scope(shop: Shop, name: str, scopes: list[Scope]) -> None:
    with pytest.raises(Invalid):
        await access.create_api_key(OPERATOR, name, scopes)

    assert await access.list_api_keys(OPERATOR) == []


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
async def test_only_admin_makes_lists_and_revokes_keys(shop: Shop, scope: Scope) -> None:
    actor = Actor(kind="api_key", name="x", scopes=frozenset({scope}))

    for refused in (
        access.create_api_key(actor, "mine", [Scope.ADMIN]),
        access.list_api_keys(actor),
        access.revoke_api_key(actor, uuid4()),
    ):
        with pytest.raises(Forbidden):
            await refused


async def test_revoking_what_is_not_there_says_so_and_twice_is_once(shop: Shop) -> None:
    key, _ = await access.create_api_key(OPERATOR, "till", [Scope.ADMIN])

    first = await access.revoke_api_key(OPERATOR, key.id)
    second = await access.revoke_api_key(OPERATOR, key.id)

    assert first.revoked_at == second.revoked_at
    with pytest.raises(NotFound):
        await access.revoke_api_key(OPERATOR, uuid4())


# ── client tokens ────────────────────────────────────────────────────────────────────────────────


async def test_a_client_token_is_for_one_payment() -> None:
    authenticator = Authenticator(ring(b"k"))

    actor = await authenticator.actor(authenticator.client_token(PAYMENT))

    assert actor.may_see(PAYMENT)
    assert not actor.may_see(uuid4())
    assert not any(actor.may(permission) for permission in Permission)


def _signed(keyring: Keyring, value: Any, purpose: str = "client-token") -> str:
    return f"dct_{keyring.signer(purpose).dumps(value)}"


SOON = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
OTHER = UUID("6f0c2f1e-7d4a-4c0e-9a53-0b9f6a1c2d3e")


def _alg_none() -> str:
    parts = [{"alg": "none", "typ": "JWT"}, {"payment": PAYMENT.hex, "exp": SOON}]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


def _spliced(genuine: str) -> str:
    """The payload for another payment, with the signature of the genuine one."""
    other = _signed(ring(b"x"), [OTHER.hex, SOON])
    return other.rsplit(".", 1)[0] + "." + genuine.rsplit(".", 1)[1]


def _plain_hmac(genuine: str) -> str:
    payload = genuine[4:].rsplit(".", 1)[0]
    signature = hmac.new(b"k" * 32, payload.encode(), hashlib.sha1).digest()
    return f"dct_{payload}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize(
    "forge",
    [
        lambda genuine: "dct_",
        lambda genuine: genuine.rsplit(".", 1)[0],
        lambda genuine: genuine.rsplit(".", 1)[0] + ".",
        lambda genuine: genuine[:-2] + ("AA" if not genuine.endswith("AA") else "BB"),
        _spliced,
        lambda genuine: _signed(ring(b"x"), [PAYMENT.hex, SOON]),
        lambda genuine: _signed(ring(b"k"), [PAYMENT.hex, SOON], purpose="something-else"),
        lambda genuine: _signed(ring(b"k"), [PAYMENT.hex, int(time.time()) - 1]),
        lambda genuine: _signed(ring(b"k"), [PAYMENT.hex]),
        lambda genuine: _signed(ring(b"k"), {"payment": PAYMENT.hex}),
        lambda genuine: _signed(ring(b"k"), ["not a payment", SOON]),
        lambda genuine: _signed(ring(b"k"), [PAYMENT.hex, "tomorrow"]),
        lambda genuine: _signed(ring(b"k"), [None, None]),
        lambda genuine: f"dct_{URLSafeSerializer('k' * 32).dumps([PAYMENT.hex, SOON])}",
        lambda genuine: f"dct_{_alg_none()}.",
        lambda genuine: f"dct_{_alg_none()}",
        _plain_hmac,
        lambda genuine: "dct_\ud800.x",
        lambda genuine: "dct_" + "A" * 1_000_000,
    ],
)
async def test_a_forged_client_token_opens_nothing(forge: Any) -> None:
    authenticator = Authenticator(ring(b"k"))
    genuine = authenticator.client_token(PAYMENT)

    with pytest.raises(Unauthenticated):
        await authenticator.actor(forge(genuine))


async def test_client_tokens_survive_a_rotation_of_the_keys() -> None:
    token = Authenticator(ring(b"k")).client_token(PAYMENT)
    rotated = Authenticator(Keyring({"k2": b"n" * 32, "k1": b"k" * 32}))

    assert (await rotated.actor(token)).payment_id == PAYMENT
    with pytest.raises(Unauthenticated):
        await Authenticator(ring(b"n", "k2")).actor(token)


async def test_new_client_tokens_are_signed_with_the_newest_key() -> None:
    token = Authenticator(Keyring({"k2": b"n" * 32, "k1": b"k" * 32})).client_token(PAYMENT)

    assert (await Authenticator(ring(b"n", "k2")).actor(token)).payment_id == PAYMENT
