"""Masking: secrets never, numbers only in part, and everything else as it was."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dusangire.masking import (
    HIDDEN,
    has_card_number,
    hide_cards,
    mask_json,
    mask_log,
    mask_text,
)

# A busy machine is slow, and not wrong.
patiently = settings(deadline=None)

words = st.text("abcdefghijklmnopqrstuvwxyz ", max_size=20)
secrets = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=6, max_size=40)
mobiles = st.builds(
    "{}{:07d}".format, st.sampled_from(["72", "73", "78", "79"]), st.integers(0, 9_999_999)
)
names = st.sampled_from(["amount", "status", "payer", "partyId", "token_type", ""])
scalars = st.none() | st.booleans() | st.integers(-99_999, 99_999) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def luhn(digits: str) -> str:
    """`digits` with the check digit that makes them a card number."""
    return next(d for d in (digits + str(n) for n in range(10)) if has_card_number(d))


# What the networks give out: how a number begins, and how many digits follow before the last.
networks = st.sampled_from(
    [("4", 14), ("51", 13), ("55", 13), ("2221", 11), ("34", 12), ("6011", 11)]
)
cards = networks.flatmap(
    lambda kind: st.text("0123456789", min_size=kind[1], max_size=kind[1]).map(
        lambda rest: luhn(kind[0] + rest)
    )
)


@patiently
@given(st.lists(words | secrets, max_size=8), st.lists(secrets, min_size=1, max_size=4))
def test_a_secret_is_never_in_a_text(parts: list[str], hidden: list[str]) -> None:
    text = "".join(part + secret for part in [*parts, ""] for secret in hidden)

    masked = mask_text(text, hidden)

    assert not [secret for secret in hidden if secret in masked]


@patiently
@given(values, secrets, st.integers(0, 3))
def test_a_secret_is_nowhere_in_a_json_value(value: Any, secret: str, place: int) -> None:
    hidden_in = [secret, {secret: 1}, {"deep": [{"deeper": secret}]}, f"Bearer {secret}."][place]

    masked = mask_json([value, hidden_in], [secret])

    assert secret not in json.dumps(masked, ensure_ascii=False)


@pytest.mark.parametrize(
    "name",
    [
        *("access_token", "Authorization", "Ocp-Apim-Subscription-Key", "api_key", "apiKey"),
        *("password", "client_secret", "Set-Cookie", "pin", "cvv", "X-Signature", "verif-hash"),
        "X-Callback-Url",
    ],
)
@pytest.mark.parametrize("value", ["x", 17, ["x"], {"y": "x"}])
def test_what_is_under_the_name_of_a_secret_is_hidden(name: str, value: Any) -> None:
    assert mask_json({"outer": {name: value}}) == {"outer": {name: HIDDEN}}


@patiently
@given(mobiles, st.sampled_from(["+250{}", "250{}", "0{}", "+250 {}"]), words, words)
def test_a_phone_number_is_never_whole(mobile: str, spelling: str, left: str, right: str) -> None:
    masked = mask_text(f"{left} {spelling.format(mobile)} {right}")

    assert mobile not in masked.replace(" ", "")
    assert mobile[-3:] in masked


@patiently
@given(mobiles)
def test_a_phone_number_that_is_a_number_is_masked_too(mobile: str) -> None:
    assert mobile not in json.dumps(mask_json({"partyId": int(f"250{mobile}")}))


@patiently
@given(cards, st.sampled_from(["", " ", "-"]), words)
def test_a_card_number_is_hidden(card: str, between: str, left: str) -> None:
    grouped = between.join(card[i : i + 4] for i in range(0, len(card), 4))

    masked = mask_text(f"{left} {grouped}")

    assert card not in masked
    assert not has_card_number(masked)
    assert sum(character.isdigit() for character in masked) <= len(card) // 2


@patiently
@given(cards, st.sampled_from(["FLW-MOCK-{}", "card{}", "visa_{}_1229", "{}-x", "x{}x"]))
def test_a_card_number_is_hidden_even_among_letters(card: str, among: str) -> None:
    assert mask_text(among.format(card)) == among.format(HIDDEN)


@patiently
@given(values)
def test_what_is_no_secret_stays_as_it_was(value: Any) -> None:
    assert mask_json(value) == value


@patiently
@given(words, st.integers(4_001, 100_000))
def test_a_long_text_is_cut(text: str, length: int) -> None:
    assert len(mask_text(text + "x" * length)) <= 4_001


@patiently
@given(
    st.recursive(
        scalars | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_no_value_is_too_odd_to_be_masked(value: Any) -> None:
    json.dumps(mask_json(value))


def test_a_log_line_shows_neither_secrets_nor_numbers() -> None:
    event = {"event": "asked", "phone": "+250788123456", "api_key": "k", "body": {"token": "t"}}

    masked = mask_log(None, "info", event)

    assert masked == {
        "event": "asked",
        "phone": "+2507****456",
        "api_key": HIDDEN,
        "body": {"token": HIDDEN},
    }


@pytest.mark.parametrize("name", ["msisdn", "partyId", "party_id", "phoneNumber", "payer_mobile"])
@pytest.mark.parametrize("number", ["730000002", "46733123450", "+46733123450", 730000002])
def test_what_is_called_a_phone_number_is_masked_in_any_spelling(
    name: str, number: str | int
) -> None:
    masked = mask_json({name: number})[name]

    assert str(number)[:-3] not in masked
    assert "****" in masked
    assert masked.endswith(str(number)[-3:])


def test_a_card_number_that_begins_like_a_phone_number_is_hidden_whole() -> None:
    assert mask_text("paid with 2507 8812 3456 7896") == "paid with •••"


@pytest.mark.parametrize(
    "text",
    [
        "1700000000009",  # milliseconds since 1970 that pass the Luhn check
        "6001067021124",  # a bar code
        "12345678-1234-4123-8123-123456789012",
        "250788123456",
    ],
)
def test_an_order_number_is_not_taken_for_a_card(text: str) -> None:
    assert not has_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "card:4111111111111111,",
    ],
)
def test_a_card_number_is_found_in_any_spelling(text: str) -> None:
    assert has_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "VISA4111 1111 1111 1111",
        "ref_4111_1111_1111_1111_x",
        "4111  1111  1111  1111",
        "4111/1111/1111/1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\n1111\r\n1111\n1111",
        "4111 - 1111 - 1111 - 1111",
        "AMEX3782/822463/10005",
        "\u20074111/1111/1111/1111",
        "\uff14" + "\uff11" * 15,
        "x\uff14\uff11\uff11\uff11 1111 1111 1111",
    ],
)
def test_s53_a_card_number_in_a_statement_is_hidden_in_any_spelling(text: str) -> None:
    hidden = hide_cards(f"PAID {text} OK")

    assert HIDDEN in hidden
    assert sum(character.isdigit() for character in hidden) == 0


@pytest.mark.parametrize(
    "text",
    [
        "RF59 RW00 0000 42",
        "FT26306AB1C2/2026-11-02/15000/115000",
        "2026-11-02 2026-11-03 15000 115000",
        "0788 123 456 / 0733 123 456",
        "0004 0001 2345 0000",
        "4111 1111 1111 1112",
    ],
)
def test_what_is_no_card_stays_in_a_statement(text: str) -> None:
    assert hide_cards(text) == text


def test_s53_a_card_number_is_hidden_behind_another_group_of_four() -> None:
    assert hide_cards("in 2026 4111/1111/1111/1111 Ltd") == f"in {HIDDEN} Ltd"


@pytest.mark.parametrize("run", ["1 ", "41", "4111 ", "1.2", "4111/"])
def test_a_long_run_of_digits_is_hidden_without_being_looked_at(run: str) -> None:
    text = f"amount {run * 100_000} end"

    assert hide_cards(text) in {f"amount {HIDDEN} end", f"amount {HIDDEN}{run[-1]} end"}


@pytest.mark.parametrize("before", ["", "7 ", "2026-11-23 ", "1 " * 15])
@pytest.mark.parametrize("card", ["4111111111111111", "4111 1111 1111 1111", "3782-822463-10005"])
def test_a_card_number_is_found_wherever_it_stands_among_digits(card: str, before: str) -> None:
    assert has_card_number(f"{before}{card} 12/29")
    assert HIDDEN in hide_cards(f"{before}{card} 12/29")
