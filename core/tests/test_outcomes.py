"""What a plugin gives is checked at the door: masked, bounded, and never the end of a payment."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dusangire.gateway import Failed, FailureCode, PaymentToken, Succeeded, Unknown
from dusangire.money import Money
from dusangire.outcomes import checked, outcome_json, read_outcome

SECRET = "sk-live-7f3a9c"
PAID = Succeeded(amount=Money(5_000, "RWF"), reference="5b1f8f0e")
TOKEN = PaymentToken(
    secret="flw-t1nf-93da56b24f8ee332",
    label="Visa •••• 4242",
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
)


def paid(token: Any) -> Succeeded:
    return Succeeded(amount=PAID.amount, reference=PAID.reference, token=token)


def test_the_providers_code_is_carried_with_an_unknown_outcome() -> None:
    outcome = checked(Unknown(cause="MTN answered 500", gateway_code="SOMETHING_NEW"))

    assert outcome == Unknown(cause="MTN answered 500", gateway_code="SOMETHING_NEW")
    assert read_outcome(outcome_json(outcome)) == outcome


def test_a_code_is_cut_made_printable_and_masked() -> None:
    outcome = checked(
        Unknown(cause="?", gateway_code=f"A\x00\ud800 {SECRET} 250788123456 {'x' * 9_999}"),
        [SECRET],
    )

    assert isinstance(outcome, Unknown)
    assert outcome.gateway_code is not None
    assert len(outcome.gateway_code) == 500
    assert "\x00" not in outcome.gateway_code
    assert SECRET not in outcome.gateway_code
    assert "788123456" not in outcome.gateway_code


@pytest.mark.parametrize("code", [7, ["A"], {"code": "A"}, True])
def test_a_code_that_is_no_text_is_nonsense(code: Any) -> None:
    with pytest.raises(ValueError, match="Unknown with values that do not fit"):
        checked(Unknown(cause="?", gateway_code=code))
    with pytest.raises(ValueError, match="Failed with values that do not fit"):
        checked(Failed(code=FailureCode.OTHER, message="No.", gateway_code=code))


def test_a_token_comes_through_the_door() -> None:
    assert checked(paid(TOKEN)) == paid(TOKEN)


def test_a_token_is_never_in_what_is_stored_in_the_open() -> None:
    stored = outcome_json(paid(TOKEN))

    assert TOKEN.secret not in stored
    assert TOKEN.label not in stored
    assert read_outcome(stored) == PAID


def test_a_tokens_label_is_masked_like_other_words() -> None:
    outcome = checked(paid(PaymentToken(secret="t", label=f"{SECRET} 4242")), [SECRET])

    assert isinstance(outcome, Succeeded)
    assert outcome.token is not None
    assert SECRET not in outcome.token.label


@pytest.mark.parametrize(
    "token",
    [
        "flw-t1nf",
        {"secret": "t", "label": "Visa"},
        PaymentToken(secret="", label="Visa"),
        PaymentToken(secret="t", label=" \n "),
        PaymentToken(secret="t\x00", label="Visa"),
        PaymentToken(secret="t" * 2_001, label="Visa"),
        PaymentToken(secret=None, label="Visa"),  # type: ignore[arg-type]
        PaymentToken(secret="t", label=4242),  # type: ignore[arg-type]
        PaymentToken(secret="t", label="Visa", expires_at="2030"),  # type: ignore[arg-type]
        PaymentToken(secret="t", label="Visa", expires_at=datetime(2030, 1, 1)),  # noqa: DTZ001
    ],
)
def test_a_token_that_cannot_be_kept_is_dropped_and_the_money_counts(token: Any) -> None:
    assert checked(paid(token)) == PAID
