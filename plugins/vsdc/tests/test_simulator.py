"""The simulated VSDC refuses what RRA's would."""

from typing import Any

import httpx
import pytest
from plugins.vsdc.tests.test_mapping import SETTINGS, body, line

from dusangire.fiscal import Label
from dusangire_vsdc.mapping import item_body
from dusangire_vsdc.simulator import Vsdc

WHO = {"tin": "999991130", "bhfId": "00"}


class Till:
    """A client of a simulator that knows one item."""

    def __init__(self) -> None:
        self.vsdc = Vsdc(SETTINGS)
        transport = httpx.ASGITransport(self.vsdc.app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://vsdc")

    async def post(self, path: str, told: dict[str, Any]) -> dict[str, Any]:
        answer = await self.http.post(path, json={**WHO, **told})
        found: dict[str, Any] = answer.json()
        return found

    async def sell(self, told: dict[str, Any]) -> dict[str, Any]:
        return await self.post("/trnsSales/saveSales", told)


@pytest.fixture
async def till() -> Till:
    till = Till()
    await till.post("/items/saveItems", item_body(SETTINGS, line(100, 15).item))
    return till


def sale(number: int, **changes: Any) -> dict[str, Any]:
    return body(line(15000, 2288), number=number, **changes)


async def test_it_is_installed_once(till: Till) -> None:
    told = {"dvcSrlNo": "simulated-device"}

    codes = [(await till.post("/initializer/selectInitInfo", told))["resultCd"] for _ in range(2)]

    assert codes == ["000", "902"]


async def test_receipts_are_counted_for_each_label_and_for_all(till: Till) -> None:
    refund = sale(2, label=Label.NR, original_number=1)

    answers = [(await till.sell(told))["data"] for told in (sale(1), refund, sale(3))]

    counted = [(one["rcptNo"], one["totRcptNo"]) for one in answers]
    assert counted == [(1, 1), (1, 2), (2, 3)]
    assert [(len(one["intrlData"]), len(one["rcptSign"])) for one in answers] == [(26, 16)] * 3


async def test_the_same_seed_signs_the_same(till: Till) -> None:
    other = Till()
    await other.post("/items/saveItems", item_body(SETTINGS, line(100, 15).item))

    first, second = await till.sell(sale(1)), await other.sell(sale(1))

    assert first["data"]["rcptSign"] == second["data"]["rcptSign"]


async def test_a_number_it_has_seen_is_a_duplicate_without_a_receipt(till: Till) -> None:
    await till.sell(sale(1))

    again = await till.sell(sale(1))

    assert (again["resultCd"], again["data"]) == ("994", None)
    assert len(till.vsdc.sales) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tin": "999991131"}, "901"),
        ({"invcNo": None}, "910"),
        ({"totItemCnt": 2}, "910"),
        ({"totAmt": 14999}, "910"),
        ({"totTaxAmt": 2287}, "910"),
        ({"taxAmtB": 2287}, "910"),
        ({"taxblAmtA": 1}, "910"),
        ({"cfmDt": None}, "910"),
        ({"receipt": None}, "910"),
        ({"orgInvcNo": 7}, "910"),
    ],
)
async def test_what_does_not_add_up_is_refused(
    till: Till, change: dict[str, Any], code: str
) -> None:
    answer = await till.sell({**sale(1), **change})

    assert answer["resultCd"] == code
    assert till.vsdc.sales == {}


async def test_tax_that_is_not_18_of_118_is_refused(till: Till) -> None:
    assert (await till.sell(body(line(15000, 2290))))["resultCd"] == "910"


async def test_an_item_that_nobody_declared_is_refused() -> None:
    assert (await Till().sell(sale(1)))["resultCd"] == "910"


@pytest.mark.parametrize("original", [7, 2])
async def test_a_refund_of_no_sale_is_refused(till: Till, original: int) -> None:
    await till.sell(sale(1))
    await till.sell(sale(2, label=Label.NR, original_number=1))

    answer = await till.sell(sale(3, label=Label.NR, original_number=original))

    assert answer["resultCd"] == "922"


async def test_more_than_was_sold_is_not_given_back(till: Till) -> None:
    await till.sell(sale(1))
    await till.sell(sale(2, label=Label.NR, original_number=1))

    assert (await till.sell(sale(3, label=Label.NR, original_number=1)))["resultCd"] == "910"


async def test_sales_stop_while_it_is_offline(till: Till) -> None:
    await till.http.post("/settings", json={"offline": True})

    assert (await till.sell(sale(1)))["resultCd"] == "990"
    assert till.vsdc.sales == {}


async def test_it_tells_what_it_was_told(till: Till) -> None:
    await till.sell(sale(1))

    truth = (await till.http.get("/truth")).json()
    page = (await till.http.get("/")).text

    assert [one["invcNo"] for one in truth["sales"]] == [1]
    assert "1/1 NS" in page


@pytest.mark.parametrize("path", ["/settings", "/faults"])
async def test_what_it_cannot_be_told_is_refused(till: Till, path: str) -> None:
    assert (await till.http.post(path, json={"nothing": 1})).status_code == 400
    assert (await till.http.post(path, content="{")).status_code == 400
