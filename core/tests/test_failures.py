"""The words for a failure: all there, in every language, kind and short."""

import re
from collections import Counter

import pytest

from dusangire.failures import EXPLANATIONS, Explanation, next_step, payer_message, retryable
from dusangire.gateway import FailureCode
from dusangire.languages import LANGUAGES, in_language

# A notification on a small phone shows about this much before it is cut.
PHONE_SCREEN = 90
TEXTS = {"rw": "Muraho", "en": "Hello", "fr": "Bonjour"}


def texts_of(explanation: Explanation) -> list[str]:
    return [*explanation.message.values(), *explanation.next_step.values()]


def test_every_code_is_explained() -> None:
    assert set(EXPLANATIONS) == set(FailureCode)


@pytest.mark.parametrize("code", FailureCode)
def test_the_payer_reads_what_happened_and_what_to_do_in_three_languages(code: FailureCode) -> None:
    explanation = EXPLANATIONS[code]

    assert set(explanation.message) == set(explanation.next_step) == set(LANGUAGES)
    assert all(text.strip() for text in texts_of(explanation))


def test_no_text_was_copied_from_another() -> None:
    counted = Counter(text for one in EXPLANATIONS.values() for text in texts_of(one))

    assert [text for text, times in counted.items() if times > 1] == []


@pytest.mark.parametrize("code", FailureCode)
def test_each_text_fits_a_phone_and_is_whole_sentences(code: FailureCode) -> None:
    for text in texts_of(EXPLANATIONS[code]):
        assert len(text) <= PHONE_SCREEN, text
        assert re.fullmatch(r"[A-Z][^!\n]*[.]", text), text


@pytest.mark.parametrize("code", FailureCode)
def test_no_text_names_a_code_a_provider_or_something_technical(code: FailureCode) -> None:
    jargon = r"\b(error|failed|gateway|timeout|MTN|MoMo|Airtel|Visa|RWF|API|HTTP|[A-Z]+_[A-Z]+)\b"

    assert [text for text in texts_of(EXPLANATIONS[code]) if re.search(jargon, text, re.I)] == []


@pytest.mark.parametrize("code", FailureCode)
def test_staff_read_what_it_means(code: FailureCode) -> None:
    assert re.fullmatch(r"[A-Z].*[.]", EXPLANATIONS[code].meaning)


def test_a_retry_is_offered_where_the_same_payer_may_succeed_with_it() -> None:
    hopeless = {code for code in FailureCode if not retryable(code)}

    assert hopeless == {
        FailureCode.PAYER_NOT_FOUND,
        FailureCode.PAYER_BLOCKED,
        FailureCode.AMOUNT_OUT_OF_LIMITS,
        FailureCode.GATEWAY_CONFIGURATION,
        FailureCode.CANCELLED,
        FailureCode.EXPIRED,
    }


def test_where_no_retry_makes_sense_none_is_advised() -> None:
    for code in FailureCode:
        advised = next_step(code).startswith("Try again")
        assert retryable(code) or not advised, code


def test_payers_are_told_in_their_language() -> None:
    code = FailureCode.INSUFFICIENT_FUNDS

    assert payer_message(code, "rw") == "Amafaranga ari kuri konti yawe ntahagije."
    assert payer_message(code) == "There is not enough money on your account."
    assert next_step(code, "fr-RW") == "Rechargez votre compte ou payez d'une autre manière."


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("rw", "Muraho"),
        ("rw-RW", "Muraho"),
        ("rw_RW.UTF-8", "Muraho"),
        ("FR", "Bonjour"),
        ("fr-CA", "Bonjour"),
        ("en-GB", "Hello"),
        ("sw", "Hello"),
        ("", "Hello"),
        ("-", "Hello"),
        ("french", "Hello"),
    ],
)
def test_a_locale_gives_its_language_and_otherwise_english(locale: str, text: str) -> None:
    assert in_language(TEXTS, locale) == text


def test_where_there_is_no_english_some_text_is_better_than_none() -> None:
    assert in_language({"rw": "Muraho"}, "fr") == "Muraho"
    assert in_language({}, "fr") == ""
