"""How much one document, one second and one connection may hold."""

import time

import pytest
from graphql import get_introspection_query, parse

from dusangire.access import Actor
from dusangire.permissions import Scope
from dusangire_server.documents import Documents, look_at
from dusangire_server.limits import Limits, Rates, measure
from dusangire_server.testing import CREATE

LIMITS = Limits()


def _nested(levels: int) -> str:
    """Fragments that each use the next one twice: 2^levels fields."""
    fragments = [f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels)]
    return f"{{ ...f0 }} {' '.join(fragments)} fragment f{levels} on Query {{ viewer {{ kind }} }}"


HOSTILE = {
    "too deep": "{ payments { edges { node { attempts { gateway { health"
    " { a { b { c { d { e } } } } } } } } } } }",
    "too many aliases": "{" + " ".join(f"v{n}: viewer {{ kind }}" for n in range(16)) + "}",
    "aliases in a fragment": "{"
    + "payments { edges { node { ...f } } } " * 4
    + "} fragment f on Payment { a: id b: id c: id d: id }",
    "too many fields": "{" + " ".join(f"... {{ f{n} }}" for n in range(201)) + "}",
    "too many directives": "{ viewer " + "@skip(if: false) " * 9 + "{ kind } }",
    "too many tokens": "{" + "a " * 1_000 + "}",
    "endless comment": "#\n" * 31_000 + "{ viewer { kind } }",
    "nested fragments": _nested(20),
    "deeply nested fragments": _nested(60),
    "a cycle": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
    "brackets": "{ payments(filter: { search: " + "[" * 480 + "]" * 480 + "}) { edges { cursor }}}",
    "braces": "{ a" * 480 + "}" * 480,
    "the same field again and again": "{" + "viewer { kind } " * 190 + "}",
    "unknown fields": "{" + " ".join(f"q{n}" for n in range(390)) + "}",
    "nested introspection": "{ __schema { types { fields { type { fields { type { fields {"
    " type { fields { name } } } } } } } } } }",
    "two checks": 'mutation { checkPayment(paymentId: "1") { replayed }'
    ' b: checkPayment(paymentId: "2") { replayed } }',
    "a very long text": '{ payment(id: "' + "a" * 70_000 + '") { id } }',
}


# A tenth of a second on a quiet machine. Work that doubles with each fragment takes for ever.
SOON = 5


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_document_is_refused_quickly_with_few_errors(text: str) -> None:
    started = time.process_time()

    document = look_at(text, LIMITS)

    assert time.process_time() - started < SOON
    assert document.node is None
    assert 1 <= len(document.errors) <= LIMITS.errors
    assert "Did you mean" not in str(document.errors)


@pytest.mark.parametrize(
    "text",
    [
        CREATE,
        get_introspection_query(),
        "{ payments { edges { node { attempts { gateway { health { status } } } } } } }",
        "{" + " ".join(f"v{n}: viewer {{ kind }}" for n in range(15)) + "}",
    ],
)
def test_an_honest_document_is_let_through(text: str) -> None:
    assert look_at(text, LIMITS).errors == ()


def test_fragments_are_measured_in_linear_time() -> None:
    started = time.process_time()

    size = measure(parse(_nested(250)))

    assert time.process_time() - started < SOON
    assert size.fields == 1_000_000


def test_fields_are_counted_where_fragments_are_used() -> None:
    size = measure(parse("{ a { ...f } b { ...f } } fragment f on X { c: d @x e { f } }"))

    assert (size.fields, size.aliases, size.directives, size.depth) == (8, 2, 2, 3)


def test_the_memory_of_documents_is_bounded() -> None:
    documents = Documents(LIMITS)

    for n in range(600):
        assert documents[f"{{ viewer {{ kind }} }} # {n}"].errors == ()

    assert len(documents) == 500
    first, last = "{ viewer { kind } } # 0", "{ viewer { kind } } # 599"
    assert documents[last] is documents[last]
    assert first not in documents._known


def test_a_document_with_directives_is_selected_anew_each_time() -> None:
    documents = Documents(LIMITS)

    assert documents["query($x: Boolean!) { viewer { kind @skip(if: $x) } }"].memory is None
    assert documents["{ viewer { kind } }"].memory == {}


def test_each_token_has_its_own_share_of_a_second() -> None:
    rates = Rates(Limits(per_key=10, per_client=2))
    one, other = (Actor(kind="api_key", name=n, scopes=frozenset(Scope)) for n in ("a", "b"))

    assert rates.take(one, 10)
    assert not rates.take(one)
    assert rates.take(other, 10)


def test_a_second_later_there_is_a_share_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(Limits(per_key=1))
    actor = Actor(kind="api_key", name="a")
    assert rates.take(actor)
    assert not rates.take(actor)

    now = time.monotonic()
    monkeypatch.setattr("dusangire_server.limits.time.monotonic", lambda: now + 1.1)

    assert rates.take(actor)
