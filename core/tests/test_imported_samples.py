"""Statements that other people's banks wrote come in whole, with the lines and balances they have.

Like all other files: uploaded, read by the installed plugins in a process of their own, stored.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from core.tests.conftest import open_shop
from core.tests.importing import Bank, codes

from dusangire.access import OPERATOR
from dusangire.importing import accounts
from dusangire.importing.imports import ImportStatus
from dusangire.statements import AccountKind

# They belong to others and are not in this repository.
SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "statements"

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the samples of other people are not beside this repository"
)

# currency; of each statement its lines, opening, closing and whether they agree; what is said
SAYS: dict[str, tuple[str, list[tuple[int, int | None, int | None, bool | None]], set[str]]] = {
    "mt940_abnamro.sta": (
        "EUR",
        [(8, 323628, 87684, False), (2, 287684, 184975, False)],
        {"BALANCE_TIE"},
    ),
    "mt940_rabobank_iban.sta": (
        "EUR",
        [(2, 100000, 96500, True), (2, 96500, 93000, True)],
        set(),
    ),
    "mt940_february_30_crlf.sta": ("EUR", [(1, 120000, 119400, True)], {"IMPOSSIBLE_DATE"}),
    "camt053_v02_multi_statement.xml": (
        "EUR",
        [(1, 1815, 2700, True), (1, 2700, 2000, True)],
        set(),
    ),
    "camt053_v08_swiss.xml": ("CHF", [(3, 8272195, 8451525, False)], {"BALANCE_TIE", "CURRENCY"}),
    "camt053_v02_duplicate_same_day.xml": ("EUR", [(2, None, None, None)], {"EQUAL_LINES"}),
    "ofx102_checking.ofx": ("USD", [(3, None, 10099, None)], set()),
    "csv_european_decimals.csv": ("EUR", [(3, None, None, None)], set()),
}
STATEMENTS = """SELECT (SELECT count(*) FROM statement_line l WHERE l.statement_id = s.id) AS lines,
    opening, closing, ties FROM statement s JOIN statement_account a ON a.id = s.account_id
WHERE a.code = $1"""


@pytest.fixture
async def bank(tmp_path: Path, url: str) -> AsyncIterator[Bank]:
    async with open_shop(tmp_path, url) as shop:
        yield Bank(shop, tmp_path)


async def _account(bank: Bank, code: str, currency: str) -> str:
    await accounts.save(
        bank.shop.core, OPERATOR, code=code, name=code, kind=AccountKind.BANK, currency=currency
    )
    return code


def _plain(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in rows)


async def test_every_sample_comes_in_with_its_lines_and_balances_and_only_once(bank: Bank) -> None:
    for number, (name, (currency, statements, said)) in enumerate(SAYS.items()):
        content = (SAMPLES / name).read_bytes()
        code = await _account(bank, f"a{number}", currency)

        done = await bank.imported(content, account=code, file_name=name)
        again = await bank.imported(content + b"\n", account=code, file_name=name)

        assert done.error is None, (name, done.error)
        assert said <= set(codes(done)), name
        assert ("BALANCE_TIE" in codes(done)) == done.blocks_posting, name
        assert (done.lines_new, done.lines_rejected) == (sum(one[0] for one in statements), 0), name
        stored = _plain(await bank.shop.rows(STATEMENTS, code))
        first = [row for row in stored if row[0]]
        assert sorted(map(str, first)) == sorted(map(str, statements)), name
        if again.error is None:
            assert (again.lines_new, again.lines_duplicate) == (0, done.lines_new), name


async def test_a_file_of_several_accounts_gives_each_account_its_own_lines(bank: Bank) -> None:
    content = (SAMPLES / "mt940_cmxl_mixed_codes.sta").read_bytes()

    for currency, lines, balances in (
        ("EUR", 2, (218795, 438795, True)),
        ("PLN", 3, (4000000, 5004000, True)),
    ):
        code = await _account(bank, currency.lower(), currency)
        done = await bank.imported(content, account=code)

        assert (done.error, done.lines_new) == (None, lines)
        assert "OTHER_ACCOUNT" in codes(done)
        [row] = await bank.shop.rows(STATEMENTS, code)
        assert (row["opening"], row["closing"], row["ties"]) == balances


async def test_a_file_that_is_no_statement_is_refused(bank: Bank) -> None:
    code = await _account(bank, "bk", "RWF")

    done = await bank.imported(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", account=code)

    assert done.status is ImportStatus.FAILED
    assert done.error is not None
    assert done.error.code == "UNKNOWN_FORMAT"


async def test_the_second_account_of_a_file_comes_in_where_its_number_is_known(bank: Bank) -> None:
    content = (SAMPLES / "mt940_sepa_structured86.sta").read_bytes()
    await _account(bank, "first", "EUR")
    first = await bank.imported(content, account="first")
    await accounts.save(
        bank.shop.core,
        OPERATOR,
        code="second",
        name="second",
        kind=AccountKind.BANK,
        currency="EUR",
        number=_accounts_of(content)[1],
    )

    second = await bank.imported(content, account="second")

    assert (first.lines_new, first.blocks_posting) == (4, False)
    assert (second.lines_new, second.blocks_posting) == (7, True)
    assert await bank.shop.value("SELECT count(*) FROM statement WHERE ties") == 1
    assert _plain(await bank.shop.rows(STATEMENTS, "second")) == [
        (7, -197043187, -447204909, False)
    ]


def _accounts_of(content: bytes) -> list[str]:
    return [line[4:].decode() for line in content.splitlines() if line.startswith(b":25:")]
