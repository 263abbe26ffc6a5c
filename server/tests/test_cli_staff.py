"""People by the command line: the only place where the first account is made."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from server.tests.terminal import Terminal

from dusangire.testing.database import fresh_database


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with fresh_database() as url:
        yield Terminal(tmp_path, {"DUSANGIRE_DATABASE_URL": url})


async def test_s28_the_first_account_is_made_here_with_a_link(terminal: Terminal) -> None:
    words = ("staff", "create", "--email", "aline@shop.test", "--role", "admin")

    made = await terminal.run(*words, "--json", DUSANGIRE_PUBLIC_URL="https://pay.example.rw")
    again = await terminal.run(*words)

    assert made.json.keys() == {"email", "role", "loginUrl"}
    assert (made.json["email"], made.json["role"]) == ("aline@shop.test", "ADMIN")
    assert made.json["loginUrl"].startswith("https://pay.example.rw/admin/link/")
    assert (again.status, "an account with this e-mail already" in again.err) == (1, True)


async def test_a_link_goes_to_stdout_and_talk_to_stderr(terminal: Terminal) -> None:
    await terminal.run("staff", "create", "--email", "a@shop.test", "--role", "VIEWER")

    link = await terminal.run("staff", "link", "a@shop.test", "--reset-password")

    assert link.out.strip().startswith("http://127.0.0.1:8000/admin/link/")
    assert "15 minutes" in link.err


async def test_roles_change_accounts_end_and_begin_again(terminal: Terminal) -> None:
    await terminal.run("staff", "create", "--email", "boss@shop.test", "--role", "ADMIN")
    await terminal.run("staff", "create", "--email", "a@shop.test", "--role", "VIEWER")

    raised = await terminal.run("staff", "role", "a@shop.test", "operator", "--json")
    ended = await terminal.run("staff", "disable", "a@shop.test", "--json")
    begun = await terminal.run("staff", "enable", "a@shop.test", "--json")
    people = await terminal.run("staff", "list", "--json")

    assert raised.json["role"] == "OPERATOR"
    assert ended.json["disabledAt"] is not None
    assert begun.json["disabledAt"] is None
    assert {person["email"] for person in people.json} == {"boss@shop.test", "a@shop.test"}
    assert not {"password", "totp", "digest"} & set(json.loads(people.out)[0])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("role", "only@shop.test", "viewer"), 1, "last administrator"),
        (("disable", "only@shop.test"), 1, "last administrator"),
        (("disable", "nobody@shop.test"), 3, "nobody with this e-mail"),
        (("link", "nobody@shop.test"), 3, "nobody with this e-mail"),
        (("role", "only@shop.test", "king"), 2, "king"),
        (("create", "--email", "x", "--role", "viewer"), 1, "not an e-mail"),
    ],
)
async def test_what_cannot_be_done_is_said(
    terminal: Terminal, words: tuple[str, ...], status: int, said: str
) -> None:
    await terminal.run("staff", "create", "--email", "only@shop.test", "--role", "ADMIN")

    refused = await terminal.run("staff", *words)

    assert (refused.status, said in refused.err) == (status, True), refused.err
