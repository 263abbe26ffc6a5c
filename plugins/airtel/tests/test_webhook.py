"""What Airtel's callbacks make us hear: whose payment it is, and never how it ended."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dusangire.errors import WebhookRejected
from dusangire.gateway import Gateway, Heard, Reply, Trust, WebhookRequest
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated
from dusangire_airtel.webhook import read

KEY = "demo-callback-key"
TRANSACTION = (
    b'{"id":"PAY0000000001","message":"Paid RWF 1,500 to DEMO SHOP. Trans ID '
    b'MP260101.0900.A00001.","status_code":"TS","airtel_money_id":"MP260101.0900.A00001"}'
)
OF_TRANSACTION = "JwNxyl/Rzy60h30C8H9QpViipPl/gDloze6KTYh5oTY="
OF_BODY = "sA5Mfd7AaryzCfOD4cz029q4yxd3p3XOJgNQFCK4wnM="
REFERENCE = "7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a"
TOLD = {"id": "7b1d0f9e2c3a4e588a176f5e4d3c2b1a", "status_code": "TS", "message": "Paid"}


def body(given_hash: str, transaction: bytes = TRANSACTION) -> bytes:
    return b'{"transaction":%s,"hash":"%s"}' % (transaction, given_hash.encode())


def made_of(hashed: bytes) -> str:
    return base64.b64encode(hmac.digest(KEY.encode(), hashed, hashlib.sha256)).decode()


def compact(value: object, **options: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, **options).encode()


@pytest.fixture
def hear(airtel: Simulated) -> Callable[..., Heard]:
    def heard(
        raw: bytes, method: str = "POST", key: str | None = KEY, made: str = "auto", **headers: str
    ) -> Heard:
        gateway = airtel.configured(callback_hash_key=key, callback_hash=made)
        request = WebhookRequest(method=method, headers=headers, body=raw)
        return airtel.plugin.read_webhook(gateway, request)

    return heard


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_genuine_callback_is_believed_to_be_genuine_and_no_more(
    hear: Callable[..., Heard], method: str
) -> None:
    heard = hear(body(OF_TRANSACTION), method)

    assert (heard.reference, heard.trust) == ("PAY0000000001", Trust.SIGNED)
    assert heard.outcome is None
    assert heard.reply == Reply(status=200, body=b"")


SPACED = b'{ "id" : "PAY0000000001",\n "status_code": "TF", "note": "\\u00e9" }'
ORDERED = {"status_code": "TF", "id": "PAY0000000001", "message": "Nib\u2019igihe"}


@pytest.mark.parametrize(
    ("variant", "raw", "header"),
    [
        ("transaction", body(OF_TRANSACTION), None),
        ("body", body(OF_BODY), None),
        ("transaction", body(made_of(SPACED), SPACED), None),
        ("transaction-compact", body(made_of(compact(json.loads(SPACED))), SPACED), None),
        ("body", body(made_of(compact({"transaction": json.loads(SPACED)})), SPACED), None),
        (
            "body-sorted",
            body(made_of(compact({"transaction": ORDERED}, sort_keys=True)), compact(ORDERED)),
            None,
        ),
        ("raw-body", b'{ "transaction": %s }' % SPACED, made_of(b'{ "transaction": %s }' % SPACED)),
        ("transaction", b'{"transaction": %s}' % TRANSACTION, OF_TRANSACTION),
        ("body", b'{"transaction": %s}' % TRANSACTION, OF_BODY),
    ],
)
async def test_every_way_to_hash_is_accepted_and_named_in_the_log(
    airtel: Simulated, hear: Callable[..., Heard], variant: str, raw: bytes, header: str | None
) -> None:
    headers = {} if header is None else {"hash": header}

    heard = hear(raw, **headers)

    assert heard.trust is Trust.SIGNED
    assert [entry["made_of"] for entry in airtel.logged] == [variant]
    assert hear(raw, made=variant, **headers).trust is Trust.SIGNED


async def test_once_the_way_is_settled_no_other_is_accepted(hear: Callable[..., Heard]) -> None:
    assert hear(body(OF_BODY), made="body").trust is Trust.SIGNED
    # The transaction stands there as it would be written anew: both ways are the same bytes.
    assert hear(body(OF_TRANSACTION), made="transaction-compact").trust is Trust.SIGNED

    with pytest.raises(WebhookRejected):
        hear(body(OF_TRANSACTION), made="body")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(body(""), id="empty"),
        pytest.param(body("A" + OF_TRANSACTION[1:]), id="another first letter"),
        pytest.param(body(OF_TRANSACTION[:-2] + "Z="), id="another last letter"),
        pytest.param(body(OF_TRANSACTION.lower()), id="lower case"),
        pytest.param(body(OF_TRANSACTION + OF_TRANSACTION), id="twice"),
        pytest.param(body("x" * 15_000), id="very long"),
        pytest.param(body("é"), id="a letter of another alphabet"),
        pytest.param(b'{"transaction":%s,"hash":7}' % TRANSACTION, id="a number"),
        pytest.param(b'{"transaction":%s,"hash":null}' % TRANSACTION, id="null"),
        pytest.param(b'{"transaction":%s,"hash":"\\ud800"}' % TRANSACTION, id="half a letter"),
        pytest.param(b'{"transaction":%s}' % TRANSACTION, id="none although there is a key"),
        pytest.param(
            body(OF_TRANSACTION, TRANSACTION.replace(b"0001", b"0002", 1)), id="another payment"
        ),
        pytest.param(body(OF_TRANSACTION, TRANSACTION.replace(b"TS", b"TF")), id="another status"),
    ],
)
async def test_a_hash_that_does_not_fit_is_refused(hear: Callable[..., Heard], raw: bytes) -> None:
    with pytest.raises(WebhookRejected) as raised:
        hear(raw)

    assert raised.value.status == 401


async def test_a_hash_made_with_another_key_is_refused(hear: Callable[..., Heard]) -> None:
    with pytest.raises(WebhookRejected):
        hear(body(OF_TRANSACTION), key="simulated-client-secret")


async def test_a_header_does_not_replace_the_hash_in_the_body(hear: Callable[..., Heard]) -> None:
    with pytest.raises(WebhookRejected):
        hear(body("wrong"), hash=OF_TRANSACTION)


async def test_without_a_key_a_callback_is_a_hint_whatever_its_hash(
    hear: Callable[..., Heard],
) -> None:
    for raw in (body("wrong"), b'{"transaction":%s}' % TRANSACTION):
        heard = hear(raw, key=None)

        assert (heard.trust, heard.outcome) == (Trust.UNSIGNED, None)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"{", 400, id="half a JSON"),
        pytest.param(b"[]", 400, id="a list"),
        pytest.param(b"{}", 400, id="no transaction"),
        pytest.param(b'{"transaction":"PAY1"}', 400, id="a transaction that is none"),
        pytest.param(b'{"transaction":{}}', 400, id="no id"),
        pytest.param(b'{"transaction":{"id":7}}', 400, id="an id that is no text"),
        pytest.param(b'{"transaction":{"id":""}}', 400, id="an empty id"),
        pytest.param(b'{"transaction":{"id":"a\\u0000b"}}', 400, id="an id that cannot be shown"),
        pytest.param(b'{"transaction":{"id":"%s"}}' % (b"x" * 65), 400, id="an id too long"),
        pytest.param(
            b'{"transaction":{"id":"A"},"transaction":%s}' % TRANSACTION, 400, id="a name twice"
        ),
        pytest.param(b'{"transaction":{"id":"A","id":"B"}}', 400, id="a name twice inside"),
        pytest.param(b"\xff\xff", 400, id="not even text"),
        pytest.param(b"[" * 16_000, 400, id="deep nesting"),
        pytest.param(b'{"a":' + b"9" * 10_000 + b"}", 400, id="a giant number"),
        pytest.param(b'{"transaction":{"id":"A"}}' + b" " * 16_384, 413, id="too large"),
    ],
)
@pytest.mark.parametrize("key", [KEY, None])
async def test_what_is_no_callback_is_rejected(
    hear: Callable[..., Heard], raw: bytes, status: int, key: str | None
) -> None:
    with pytest.raises(WebhookRejected) as raised:
        hear(raw, key=key)

    assert raised.value.status == status


async def test_our_reference_is_heard_as_we_spell_it(hear: Callable[..., Heard]) -> None:
    assert hear(compact({"transaction": TOLD}), key=None).reference == REFERENCE


async def test_a_repeated_callback_has_the_same_key_and_another_one_another(
    hear: Callable[..., Heard],
) -> None:
    def key_of(transaction: dict[str, str]) -> str:
        return hear(compact({"transaction": transaction}), key=None).dedupe_key

    key = key_of(TOLD)

    assert key_of(dict(reversed(TOLD.items()))) == key
    for change in ({"status_code": "TF"}, {"message": "Failed"}, {"airtel_money_id": "MP1"}):
        assert key_of(TOLD | change) != key


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
MEMBERS = st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=5)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(members=MEMBERS, others=MEMBERS, indent=st.sampled_from([None, 1]), flip=st.integers(0, 255))
def test_any_transaction_is_verified_as_it_is_written_and_no_other(
    airtel: Simulated, members: Any, others: Any, indent: int | None, flip: int
) -> None:
    gateway: Gateway[Any] = airtel.configured(callback_hash_key=KEY)
    written = json.dumps({**members, "id": "PAY1"}, indent=indent)
    rest = "".join(
        f", {json.dumps(name)}: {json.dumps(value)}"
        for name, value in others.items()
        if name not in {"transaction", "hash"}
    )
    raw = f'{{"transaction": {written}{rest}, "hash": "{made_of(written.encode())}"}}'.encode()

    assert read(gateway, WebhookRequest(method="POST", headers={}, body=raw)).reference == "PAY1"
    at = flip % len(written)
    position = len(b'{"transaction": ') + at
    forged = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
    with pytest.raises(WebhookRejected):
        read(gateway, WebhookRequest(method="POST", headers={}, body=forged))


async def test_no_depth_of_nesting_blows_up(hear: Callable[..., Heard]) -> None:
    for depth in range(1, 2_000, 7):
        nested = b'{"transaction":{"id":"A","x":' + b"[" * depth + b"]" * depth + b"}}"
        for key in (KEY, None):
            with suppress(WebhookRejected):
                assert hear(nested, key=key).reference == "A"


def test_the_plugin_hears_callbacks_and_gives_back_whole_payments(plugin: Plugin) -> None:
    assert {"CALLBACK", "STATUS_CHECK", "REFUND"} <= plugin.capabilities
    assert "PARTIAL_REFUND" not in plugin.capabilities
    assert not plugin.description.repeatable_refunds
    assert not plugin.implements("check_refund")
