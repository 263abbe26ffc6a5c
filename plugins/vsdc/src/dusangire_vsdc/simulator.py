"""A VSDC for laptops and tests: behaves like RRA's, with one device and no RRA behind it.

`GET /truth` tells what was declared. `POST /settings` and `POST /faults` make it misbehave.
"""

import base64
import hashlib
import hmac
import html
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from dusangire.gateway import JSON, Clock
from dusangire.simulation import Faults
from dusangire.simulation.line import FaultyLine, FaultySource
from dusangire_vsdc.config import CLASSES, VsdcSettings
from dusangire_vsdc.mapping import RATES

# The TIN that RRA's own documentation uses for tests.
EXAMPLE: Mapping[str, str] = {
    "tin": "999991130",
    "branch": "00",
    "device_serial": "simulated-device",
    "item_class": "8111000000",
}
SDC_ID, MRC_NO = "SDC010000005", "WIS01006230"
_KIGALI = ZoneInfo("Africa/Kigali")

_HEADER = (
    "tin bhfId invcNo orgInvcNo salesTyCd rcptTyCd salesSttsCd cfmDt salesDt totItemCnt "
    "totTaxblAmt totTaxAmt totAmt prchrAcptcYn regrId regrNm modrId modrNm receipt itemList "
    + " ".join(f"taxblAmt{name} taxRt{name} taxAmt{name}" for name in CLASSES)
).split()
_ITEM = [
    "itemSeq",
    "itemCd",
    "itemNm",
    "pkgUnitCd",
    "pkg",
    "qtyUnitCd",
    "qty",
    "prc",
    "splyAmt",
    "dcRt",
    "dcAmt",
    "taxTyCd",
    "taxblAmt",
    "taxAmt",
    "totAmt",
]
_DECLARED = ("itemCd", "itemClsCd", "itemTyCd", "itemNm", "pkgUnitCd", "qtyUnitCd", "taxTyCd")


class SimulatorSettings(BaseModel):
    """What can be told to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: str = Field("", pattern=r"^([0-9]{3})?$", description="A code that sales get instead.")
    times: int | None = Field(None, ge=0, description="So many sales get it; left out: all do.")
    after_save: bool = Field(False, description="The sale was saved all the same.")
    offline: bool = Field(False, description="It has not reached RRA for a day: sales stop.")


class Refused(Exception):
    """Answered with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Vsdc:
    """One device. `sales`: every document it saved, by invcNo, with what it signed.

    fresh: nothing was ever sent to it. Otherwise it takes what was before its start for known.
    """

    settings: VsdcSettings
    seed: bytes = b"seed"
    fresh: bool = True
    clock: Clock = lambda: datetime.now(UTC)
    sales: dict[int, dict[str, JSON]] = field(default_factory=dict)
    signed: dict[int, dict[str, JSON]] = field(default_factory=dict)
    items: dict[str, dict[str, JSON]] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    installed: bool = False
    switches: SimulatorSettings = field(default_factory=SimulatorSettings)
    line: FaultySource = field(
        default_factory=lambda: FaultySource(Random(0), Faults())  # noqa: S311
    )

    @property
    def app(self) -> ASGIApp:
        api = Starlette(
            routes=[
                self._route("/initializer/selectInitInfo", self._init),
                self._route("/code/selectCodes", self._codes),
                self._route("/items/saveItems", self._save_item),
                self._route("/trnsSales/saveSales", self._save_sale),
            ]
        )
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/truth", self._truth),
                Route("/settings", self._switch, methods=["POST"]),
                Route("/faults", self._break, methods=["POST"]),
                Mount("/", app=FaultyLine(api, self.line)),
            ]
        )

    def _route(
        self, path: str, answer: Callable[[dict[str, JSON]], Mapping[str, JSON] | None]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                asked = json.loads(await request.body())
                self._known(asked)
                return self._envelope("000", "It is succeeded", answer(asked))
            except ValueError:
                return self._envelope("911", "Request body does not exist")
            except Refused as refused:
                return self._envelope(refused.code, refused.message)

        return Route(path, endpoint, methods=["POST"])

    def _envelope(self, code: str, message: str, data: JSON = None) -> Response:
        at = f"{self.clock().astimezone(_KIGALI):%Y%m%d%H%M%S}"
        told = {"resultCd": code, "resultMsg": message, "resultDt": at, "data": data}
        return JSONResponse(told)

    def _known(self, asked: JSON) -> None:
        if not isinstance(asked, dict):
            raise Refused("910", "Request parameter error")
        if asked.get("tin") != self.settings.tin or asked.get("bhfId") != self.settings.branch:
            raise Refused("901", "It is not valid device")

    # ── before the first sale ────────────────────────────────────────────────────────────────────

    def _init(self, asked: dict[str, JSON]) -> Mapping[str, JSON]:
        if asked.get("dvcSrlNo") != self.settings.device_serial:
            raise Refused("901", "It is not valid device")
        if self.installed:
            raise Refused("902", "This device is installed")
        self.installed = self.fresh
        last = max(self.sales, default=0)
        return {
            "info": {
                "tin": self.settings.tin,
                "taxprNm": "Example Shop",
                "bhfId": self.settings.branch,
                "bhfNm": "Headquarter",
                "dvcId": "9999911300000001",
                "sdicId": SDC_ID,
                "mrcNo": MRC_NO,
                "cmcKey": "simulated-communication-key",
                "lastSaleInvcNo": last,
                "lastInvcNo": last,
            }
        }

    def _codes(self, asked: dict[str, JSON]) -> Mapping[str, JSON]:
        types = [
            {"cd": name, "cdNm": f"{name}-{RATES[name]}", "userDfnCd1": str(RATES[name])}
            for name in CLASSES
        ]
        return {"clsList": [{"cdCls": "04", "cdClsNm": "Taxation Type", "dtlList": types}]}

    def _save_item(self, asked: dict[str, JSON]) -> None:
        if any(not asked.get(name) for name in _DECLARED) or asked["taxTyCd"] not in CLASSES:
            raise Refused("910", "Request parameter error")
        self.items[asked["itemCd"]] = asked

    # ── sales ────────────────────────────────────────────────────────────────────────────────────

    def _save_sale(self, asked: dict[str, JSON]) -> Mapping[str, JSON]:
        number = asked.get("invcNo")
        if isinstance(number, int):
            self.requests[number] += 1
        code = self._switched()
        if code and not self.switches.after_save:
            raise Refused(code, "as it was told to answer")
        if self.switches.offline:
            raise Refused("990", "The VSDC has not reached RRA for 24 hours")
        self._check(asked)
        if asked["invcNo"] in self.sales:
            # The real one says no more than this, either.
            raise Refused("994", "Duplicate")
        self._check_refund(asked)
        receipt = self._sign(asked)
        if code:
            raise Refused(code, "as it was told to answer")
        return receipt

    def _switched(self) -> str:
        left = self.switches.times
        if not self.switches.answer or left == 0:
            return ""
        if left is not None:
            self.switches = self.switches.model_copy(update={"times": left - 1})
        return self.switches.answer

    def _check(self, asked: dict[str, JSON]) -> None:
        missing = [name for name in _HEADER if asked.get(name) is None]
        lines = asked.get("itemList") or []
        missing += [name for line in lines for name in _ITEM if line.get(name) is None]
        if missing:
            raise Refused("910", f"Request parameter error: {missing[0]}")
        if not isinstance(asked["invcNo"], int) or asked["invcNo"] < 1:
            raise Refused("910", "Request parameter error: invcNo")
        if asked["totItemCnt"] != len(lines) or not lines:
            raise Refused("910", "Request parameter error: totItemCnt")
        for line in lines:
            self._check_line(line)
        for name in CLASSES:
            of = [line for line in lines if line["taxTyCd"] == name]
            self._same(asked[f"taxblAmt{name}"], sum(line["taxblAmt"] for line in of), name)
            self._same(asked[f"taxAmt{name}"], sum(line["taxAmt"] for line in of), name)
        for total, part in (("totTaxblAmt", "taxblAmt"), ("totTaxAmt", "taxAmt")):
            self._same(asked[total], sum(asked[f"{part}{name}"] for name in CLASSES), total)
        self._same(asked["totAmt"], asked["totTaxblAmt"], "totAmt")

    def _check_line(self, line: dict[str, JSON]) -> None:
        if self.fresh and line["itemCd"] not in self.items:
            raise Refused("910", f"Request parameter error: unknown item {line['itemCd']}")
        if line["taxTyCd"] not in CLASSES:
            raise Refused("910", "Request parameter error: taxTyCd")
        self._same(line["splyAmt"], line["prc"] * line["qty"], "splyAmt", within=0.5)
        self._same(line["totAmt"], line["splyAmt"] - line["dcAmt"], "totAmt")
        rate = RATES[line["taxTyCd"]]
        tax = line["taxblAmt"] * rate / (100 + rate)
        self._same(line["taxAmt"], tax, "taxAmt", within=1)

    @staticmethod
    def _same(said: Any, expected: Any, name: str, within: float = 0) -> None:
        if abs(said - expected) > within:
            raise Refused("910", f"Request parameter error: {name} {said} is not {expected}")

    def _check_refund(self, asked: dict[str, JSON]) -> None:
        refund, original = asked["rcptTyCd"] == "R", asked["orgInvcNo"]
        if not refund and original:
            raise Refused("910", "Request parameter error: orgInvcNo")
        if not refund:
            return
        sale = self.sales.get(original)
        if sale is None and not self.fresh and original < min(self.sales, default=asked["invcNo"]):
            return
        if sale is None or sale["rcptTyCd"] != "S":
            raise Refused("922", "The sales invoice must be sent first")
        if asked.get("rfdDt") is None or asked.get("rfdRsnCd") is None:
            raise Refused("910", "Request parameter error: rfdRsnCd")
        back = [one["totAmt"] for one in self.sales.values() if one["orgInvcNo"] == original]
        if sum(back) + asked["totAmt"] > sale["totAmt"]:
            raise Refused("910", "Request parameter error: more is given back than was sold")

    def _sign(self, asked: dict[str, JSON]) -> dict[str, JSON]:
        number, label = asked["invcNo"], asked["salesTyCd"] + asked["rcptTyCd"]
        self.counters[label] += 1
        digest = hmac.digest(self.seed, json.dumps(asked, sort_keys=True).encode(), hashlib.sha512)
        letters = base64.b32encode(digest).decode()
        receipt = {
            "rcptNo": self.counters[label],
            "totRcptNo": self.counters.total(),
            "intrlData": letters[:26],
            "rcptSign": letters[26:42],
            "vsdcRcptPbctDate": f"{self.clock().astimezone(_KIGALI):%Y%m%d%H%M%S}",
            "sdcId": SDC_ID,
            "mrcNo": MRC_NO,
        }
        self.sales[number] = asked
        self.signed[number] = {**receipt, "label": f"N{asked['rcptTyCd']}"}
        return receipt

    # ── for people and tests ─────────────────────────────────────────────────────────────────────

    async def _truth(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "sales": list(self.sales.values()),
                "signed": {str(number): one for number, one in self.signed.items()},
                "requests": {str(number): count for number, count in self.requests.items()},
                "items": list(self.items),
            }
        )

    async def _switch(self, request: Request) -> Response:
        return await _told(request, self._take_settings)

    async def _break(self, request: Request) -> Response:
        return await _told(request, self._take_faults)

    def _take_settings(self, told: JSON) -> BaseModel:
        self.switches = SimulatorSettings.model_validate(told)
        return self.switches

    def _take_faults(self, told: JSON) -> BaseModel:
        self.line.faults, self.line.suffered = Faults.model_validate(told), 0
        return self.line.faults

    async def _page(self, _request: Request) -> Response:
        rows = "".join(
            f"<tr><td>{number}</td><td>{one['rcptNo']}/{one['totRcptNo']} {one['label']}</td>"
            f"<td>{self.sales[number]['totAmt']:,}</td><td>{self.sales[number]['totTaxAmt']:,}</td>"
            f"<td>{html.escape(str(self.sales[number]['remark']))}</td></tr>"
            for number, one in sorted(self.signed.items(), reverse=True)[:200]
        )
        return HTMLResponse(
            "<!doctype html><html lang=en><meta charset=utf-8><title>VSDC</title>"
            "<meta name=viewport content='width=device-width'>"
            "<style>body{font:16px system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}"
            "td,th{padding:.3rem .8rem;text-align:left}</style>"
            "<h1>Simulated VSDC</h1><p>What was declared here reached no tax authority.</p>"
            "<table><tr><th>invcNo<th>Receipt<th>Total<th>Tax<th>Invoice</tr>"
            f"{rows}</table></html>"
        )


async def _told(request: Request, take: Callable[[JSON], BaseModel]) -> Response:
    try:
        return JSONResponse(take(json.loads(await request.body())).model_dump(mode="json"))
    except (ValueError, ValidationError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
