"""A sale is declared once, whatever breaks, and its receipt comes back."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from plugins.vsdc.tests.conftest import Line, Office

from dusangire.access import OPERATOR, Actor
from dusangire.database import drained
from dusangire.errors import ConfirmationNeeded, Forbidden, IllegalState, Invalid
from dusangire.fiscal import PartialRefunds
from dusangire.fiscalization import receipts, signing
from dusangire.fiscalization.receipts import CompleteReceipt, ReceiptStatus
from dusangire.permissions import Role
from dusangire.simulation import Faults
from dusangire_vsdc.simulator import SimulatorSettings

SALES = "/trnsSales/saveSales"
APPROVER = Actor(kind="staff", name="aline@example.rw", role=Role.APPROVER)
LOST = Faults(lost_replies=1, only=SALES, times=1)
REFUSED = Faults(refused=1, only=SALES, times=1)


def confirmed(actor: Actor = APPROVER) -> Actor:
    return replace(actor, confirmed_at=datetime.now(UTC).timestamp())


def declared(office: Office) -> Counter[str]:
    """How often each invoice was declared, by its own number."""
    return Counter(str(sale["remark"]) for sale in office.vsdc.sales.values())


async def statuses(office: Office) -> list[str]:
    rows = await office.rows("SELECT status FROM fiscal_receipt ORDER BY place")
    return [row["status"] for row in rows]


# ── a receipt ────────────────────────────────────────────────────────────────────────────────────


async def test_a_paid_invoice_gets_its_receipt(office: Office) -> None:
    invoice = await office.sell()

    await office.work()

    row, [signed] = await office.receipt(invoice), office.vsdc.signed.values()
    assert (row["status"], row["invc_no"], row["fiscal_label"]) == ("SIGNED", 1, "NS")
    assert (row["rcpt_no"], row["tot_rcpt_no"]) == (1, 1)
    assert (row["sdc_id"], row["mrc_no"]) == ("SDC010000005", "WIS01006230")
    assert (row["internal_data"], row["receipt_signature"]) == (
        signed["intrlData"], signed["rcptSign"],
    )  # fmt: skip
    at = str(signed["vsdcRcptPbctDate"])
    assert row["qr_payload"] == (
        f"{at[6:8]}{at[4:6]}{at[:4]}#{at[8:]}#SDC010000005#1#"
        f"{signed['intrlData']}#{signed['rcptSign']}"
    )


async def test_an_invoice_that_is_told_of_twice_is_declared_once(office: Office) -> None:
    invoice = await office.sell()
    await office.hear(invoice)
    await office.work()
    await office.hear(invoice)

    await office.work()

    assert declared(office) == {"INV-2026-000001": 1}
    assert len(await office.rows("SELECT FROM fiscal_receipt")) == 1


async def test_numbers_go_on_where_the_device_was(office: Office) -> None:
    office.vsdc.sales[41] = {"rcptTyCd": "S", "totAmt": 1, "orgInvcNo": 0, "remark": "older"}
    invoice = await office.sell()

    await office.work()

    assert (await office.receipt(invoice))["invc_no"] == 42


async def test_a_device_that_is_installed_already_wants_to_be_told_its_number(
    office: Office,
) -> None:
    office.vsdc.installed = True
    invoice = await office.sell()
    await office.work()
    unsigned = await receipts.unsigned()
    assert unsigned.stopped is not None
    assert "DUSANGIRE_VSDC_LAST_NUMBER" in unsigned.stopped
    assert office.vsdc.requests == {}

    office.configure(last_number=7)
    await office.work()

    assert (await office.receipt(invoice))["invc_no"] == 8


async def test_an_item_is_declared_once_before_its_first_sale(office: Office) -> None:
    for _ in range(2):
        await office.sell(Line(total=7000, code="HOST"), Line(total=3500, code="MAIL"))
    await office.sell(Line(total=100), Line(total=200))

    await office.work()

    assert await statuses(office) == ["SIGNED"] * 3
    assert list(office.vsdc.items) == ["RW2NTXU0000001", "RW2NTXU0000002", "RW2NTXU0000003"]


# ── what gets lost ───────────────────────────────────────────────────────────────────────────────


async def test_timeout_after_save_then_994_needs_a_person_and_declares_once(office: Office) -> None:
    invoice = await office.sell()
    office.vsdc.line.faults = LOST

    assert await signing.sign_due(office.core) == 1
    assert await statuses(office) == ["UNKNOWN"]
    await office.work()

    row = await office.receipt(invoice)
    assert (row["status"], row["invc_no"]) == ("NEEDS_RECEIPT", 1)
    assert declared(office) == {"INV-2026-000001": 1}
    assert office.vsdc.requests == {1: 2}


async def test_timeout_before_save_is_sent_again_under_the_same_number(office: Office) -> None:
    invoice = await office.sell()
    office.vsdc.line.faults = REFUSED

    await office.work()

    row = await office.receipt(invoice)
    assert (row["status"], row["invc_no"], row["doubted"]) == ("SIGNED", 1, True)
    assert declared(office) == {"INV-2026-000001": 1}


@pytest.mark.parametrize("code", ["894", "999", "990", "777"])
@pytest.mark.parametrize("after_save", [False, True])
async def test_a_code_that_says_nothing_for_certain_is_a_doubt(
    office: Office, code: str, after_save: bool
) -> None:
    await office.sell()
    office.vsdc.switches = SimulatorSettings(answer=code, times=1, after_save=after_save)

    assert await signing.sign_due(office.core) == 1
    assert await statuses(office) == ["UNKNOWN"]
    await office.work()

    assert await statuses(office) == ["NEEDS_RECEIPT" if after_save else "SIGNED"]
    assert declared(office) == {"INV-2026-000001": 1}


@pytest.mark.parametrize("fault", ["html", "truncated", "unavailable", "oversized", "hung_replies"])
async def test_an_answer_that_cannot_be_read_is_a_doubt(office: Office, fault: str) -> None:
    await office.sell()
    office.vsdc.line.faults = Faults.model_validate({fault: 1, "only": SALES, "times": 1})

    assert await signing.sign_due(office.core) == 1

    assert await statuses(office) == ["UNKNOWN"]


async def test_what_never_left_is_sent_later_with_its_number(office: Office) -> None:
    first = await office.sell()
    await office.work()
    plugin = office.core.plugins.fiscal
    assert plugin is not None
    address = plugin.description.base_url
    second = await office.sell()
    office.configure(url="http://127.0.0.1:1")
    assert await signing.sign_due(office.core) == 1
    row = await office.receipt(second)
    assert (row["status"], row["invc_no"], row["doubted"]) == ("QUEUED", 2, False)

    office.configure(url=address)
    await office.work()

    assert [(await office.receipt(one))["invc_no"] for one in (first, second)] == [1, 2]
    assert await statuses(office) == ["SIGNED", "SIGNED"]


async def test_what_a_killed_process_left_behind_is_a_doubt(office: Office) -> None:
    await office.sell()
    await office.sell()
    office.vsdc.line.faults = Faults(hung_replies=1, only=SALES, times=1)
    await office.killed(await office.sends())
    # A process that is killed does not even let go of the device.
    await office.run(
        "UPDATE fiscal_device SET holder = gen_random_uuid(), "
        "lease_until = now() + interval '1 hour'"
    )
    await office.work()
    assert await statuses(office) == ["SENDING", "QUEUED"]

    await office.run("UPDATE fiscal_device SET lease_until = now() - interval '1 s'")
    await office.work()

    assert await statuses(office) == ["NEEDS_RECEIPT", "SIGNED"]
    assert set(declared(office).values()) == {1}


async def test_a_worker_that_is_told_to_stop_keeps_the_answer_under_way(office: Office) -> None:
    invoice = await office.sell()
    office.vsdc.line.faults = Faults(latency=0.3)
    sender = asyncio.create_task(signing.sign_due(office.core))
    while await statuses(office) != ["SENDING"]:  # noqa: ASYNC110 - a row sets no event
        await asyncio.sleep(0.01)

    sender.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sender
    assert await drained(20, "sign ")

    row = await office.receipt(invoice)
    assert (row["status"], row["doubted"]) == ("SIGNED", False)


@pytest.mark.parametrize("obstacle", ["tax class", "item"])
async def test_what_stops_a_sale_before_it_is_sent_again_leaves_the_doubt_of_a_killed_process(
    office: Office, obstacle: str
) -> None:
    await office.sell()
    await office.work()
    office.configure(tax_classes={"LUXURY": "A"})
    invoice = await office.sell(Line(total=100, tax_class="LUXURY", rate=0, code="HOST"))
    # The process died after the device took the sale: nobody saw the answer.
    await office.run(
        "UPDATE fiscal_receipt SET status = 'SENDING', invc_no = 2, tries = 1, "
        "version = version + 1 WHERE invoice_id = $1",
        invoice,
    )
    await office.run("UPDATE fiscal_device SET reached = 2")
    if obstacle == "tax class":
        office.configure(tax_classes={})
    else:
        office.configure(url="http://127.0.0.1:1")

    assert await signing.sign_due(office.core) == 0

    row = await office.receipt(invoice)
    rejected = obstacle == "tax class"
    assert row["status"] == ("REJECTED" if rejected else "UNKNOWN")
    assert (row["invc_no"], row["doubted"]) == (2, True)
    if rejected:
        with pytest.raises(IllegalState):
            await receipts.retry(
                office.core, confirmed(), row["id"], new_number=True, evidence="please"
            )


async def test_order_holds_under_four_workers_that_are_killed(office: Office) -> None:
    chance = random.Random(7)
    invoices = [await office.sell(Line(total=1000 + number)) for number in range(40)]
    office.vsdc.line.faults = Faults(lost_replies=0.15, refused=0.15, only=SALES)

    async def worker() -> None:
        while True:
            await signing.sign_due(office.core)
            await asyncio.sleep(0)

    workers = [asyncio.create_task(worker()) for _ in range(4)]
    try:
        async with asyncio.timeout(60):
            while set(await statuses(office)) - {"SIGNED", "NEEDS_RECEIPT"}:
                await asyncio.sleep(0.02)
                await office.due()
                # At most one of the four is sending: half of the kills hit it, half another one.
                victim = chance.randrange(4)
                if chance.random() < 0.5:
                    await office.killed(workers[victim])
                else:
                    workers[victim].cancel()
                    await asyncio.wait([workers[victim]])
                workers[victim] = asyncio.create_task(worker())
    finally:
        for one in workers:
            await office.killed(one)

    assert list(office.vsdc.sales) == list(range(1, 41))
    assert set(declared(office).values()) == {1}
    rows = [await office.receipt(invoice) for invoice in invoices]
    assert [row["invc_no"] for row in rows] == list(range(1, 41))
    for row in rows:
        # Whatever is said to be signed is what the device signed under this number.
        if row["status"] == "SIGNED":
            assert row["internal_data"] == office.vsdc.signed[row["invc_no"]]["intrlData"]
            assert office.vsdc.sales[row["invc_no"]]["totAmt"] == 1000 + row["invc_no"] - 1


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", ["910", "911", "912", "901", "903"])
async def test_a_refusal_stops_the_line_until_a_person_corrects_it(
    office: Office, code: str
) -> None:
    first = await office.sell()
    await office.sell()
    office.vsdc.switches = SimulatorSettings(answer=code, times=1)
    await office.work()
    assert await statuses(office) == ["REJECTED", "QUEUED"]
    unsigned = await receipts.unsigned()
    assert (unsigned.waiting, unsigned.needing) == (2, 1)
    assert code in (unsigned.stopped or "")

    row = await office.receipt(first)
    await receipts.retry(office.core, OPERATOR, row["id"])
    await office.work()

    assert await statuses(office) == ["SIGNED", "SIGNED"]
    assert list(office.vsdc.sales) == [1, 2]
    assert (await office.receipt(first))["invc_no"] == 1


@pytest.mark.parametrize(
    ("line", "currency", "code"),
    [
        (Line(total=100), "USD", "CURRENCY"),
        (Line(total=100, tax_class="LUXURY"), "RWF", "TAX_CLASS"),
    ],
)
async def test_what_can_never_be_declared_costs_no_number_and_holds_up_nobody(
    office: Office, line: Line, currency: str, code: str
) -> None:
    refused = await office.sell(line, currency=currency)
    sold = await office.sell()

    await office.work()

    row = await office.receipt(refused)
    await receipts.retry(office.core, OPERATOR, row["id"])
    await office.work()
    row = await office.receipt(refused)
    assert (row["status"], row["invc_no"]) == ("REJECTED", None)
    assert code in row["error"]
    assert (await office.receipt(sold))["invc_no"] == 1


async def test_a_number_that_somebody_else_used_is_changed_by_a_person_alone(
    office: Office,
) -> None:
    first = await office.sell()
    await office.work()
    office.vsdc.sales[2] = {**office.vsdc.sales[1], "invcNo": 2, "remark": "by another till"}
    second = await office.sell()
    await office.work()
    row = await office.receipt(second)
    assert (row["status"], row["invc_no"]) == ("REJECTED", 2)

    with pytest.raises(Invalid):
        await receipts.retry(office.core, confirmed(), row["id"], new_number=True)
    with pytest.raises(Forbidden):
        await receipts.retry(office.core, OPERATOR, row["id"], new_number=True, evidence="seen")
    await receipts.retry(
        office.core, confirmed(), row["id"], new_number=True, evidence="2 is the other till's"
    )
    await office.work()

    assert [(await office.receipt(one))["invc_no"] for one in (first, second)] == [1, 3]
    assert await statuses(office) == ["SIGNED", "SIGNED"]


async def test_a_doubted_sale_never_gets_another_number(office: Office) -> None:
    invoice = await office.sell()
    office.vsdc.line.faults = REFUSED
    await signing.sign_due(office.core)
    office.vsdc.switches = SimulatorSettings(answer="910", times=1)
    await office.work()
    row = await office.receipt(invoice)
    assert (row["status"], row["doubted"]) == ("REJECTED", True)

    with pytest.raises(IllegalState):
        await receipts.retry(
            office.core, confirmed(), row["id"], new_number=True, evidence="please"
        )


# ── a person ─────────────────────────────────────────────────────────────────────────────────────


async def lost_receipt(office: Office) -> CompleteReceipt:
    """One that needs a person, and what stands on the device's own."""
    invoice = await office.sell()
    office.vsdc.line.faults = LOST
    await office.work()
    signed = office.vsdc.signed[1]
    return CompleteReceipt(
        id=(await office.receipt(invoice))["id"],
        receipt_number=1,
        total_number=1,
        sdc_id="SDC010000005",
        mrc_no="WIS01006230",
        internal_data=receipts.in_groups(str(signed["intrlData"])).lower(),
        signature=receipts.in_groups(str(signed["rcptSign"])),
        signed_at=datetime(2026, 11, 23, 8, 15, 31, tzinfo=UTC),
        evidence="journal of the VSDC, page 3",
    )


async def test_a_person_enters_what_the_device_signed(office: Office) -> None:
    request = await lost_receipt(office)

    done = await receipts.complete(office.core, confirmed(), request)

    signed = office.vsdc.signed[1]
    assert (done.status, done.number) == (ReceiptStatus.SIGNED, "1/1 NS")
    assert (done.internal_data, done.receipt_signature) == (
        signed["intrlData"], signed["rcptSign"],
    )  # fmt: skip
    assert done.qr_payload == (
        f"23112026#101531#SDC010000005#1#{signed['intrlData']}#{signed['rcptSign']}"
    )
    assert done.completed_by == "aline@example.rw"
    [entry] = await office.rows(
        "SELECT actor_name, detail FROM audit_entry WHERE action = 'fiscal_receipt.completed'"
    )
    assert entry["actor_name"] == "aline@example.rw"
    assert "journal of the VSDC" in entry["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"receipt_number": 0},
        {"receipt_number": 2},
        {"sdc_id": "SDC01"},
        {"internal_data": "ABCD"},
        {"signature": "ABCD-EFGH-IJKL-MN#P"},
        {"signed_at": datetime(2026, 11, 23, 8, 15, 31)},  # noqa: DTZ001
        {"evidence": "  "},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_what_is_no_receipt_is_refused(office: Office, changes: dict[str, object]) -> None:
    request = await lost_receipt(office)

    with pytest.raises(Invalid):
        await receipts.complete(office.core, confirmed(), replace(request, **changes))  # type: ignore[arg-type]

    assert await statuses(office) == ["NEEDS_RECEIPT"]


async def test_only_an_approver_who_is_there_completes_a_receipt(office: Office) -> None:
    request = await lost_receipt(office)

    with pytest.raises(ConfirmationNeeded):
        await receipts.complete(office.core, APPROVER, request)
    for other in (OPERATOR, confirmed(replace(APPROVER, role=Role.OPERATOR))):
        with pytest.raises(Forbidden):
            await receipts.complete(office.core, other, request)
    await receipts.complete(office.core, confirmed(), request)

    with pytest.raises(IllegalState):
        await receipts.complete(office.core, confirmed(), request)


async def test_a_copy_is_counted_and_is_no_second_sale(office: Office) -> None:
    invoice = await office.sell()
    row = await office.receipt(invoice)
    with pytest.raises(IllegalState):
        await receipts.count_copy(row["id"])
    await office.work()

    assert [await receipts.count_copy(row["id"]) for _ in range(2)] == [1, 2]

    after = await office.receipt(invoice)
    signed = office.vsdc.signed[1]
    assert after["receipt_signature"] == signed["rcptSign"]
    assert declared(office) == {"INV-2026-000001": 1}


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_refund_names_its_sale_and_both_are_counted(office: Office) -> None:
    invoice = await office.sell()
    note = await office.credit(invoice, Line(total=15000))

    await office.work()

    sale, refund = await receipts.of_sale(invoice)
    assert (sale.number, refund.number) == ("1/1 NS", "1/2 NR")
    assert (refund.invoice_id, refund.org_invc_no) == (note, sale.invc_no)
    sent = office.vsdc.sales[2]
    assert (sent["rcptTyCd"], sent["salesSttsCd"], sent["orgInvcNo"]) == ("R", "05", 1)
    assert (sent["rfdRsnCd"], sent["totAmt"]) == ("06", 15000)


async def test_parts_come_to_the_whole_and_no_more(office: Office) -> None:
    invoice = await office.sell(Line(total=10000))
    for total in (3333, 3333, 3334):
        await office.credit(invoice, Line(total=total))

    await office.work()

    assert await statuses(office) == ["SIGNED"] * 4
    back = [one for one in office.vsdc.sales.values() if one["rcptTyCd"] == "R"]
    assert sum(one["totAmt"] for one in back) == 10000


async def test_a_refund_waits_for_its_sale_and_holds_up_nobody(office: Office) -> None:
    invoice = await office.sell()
    office.vsdc.line.faults = LOST
    await office.work()
    await office.credit(invoice, Line(total=15000))
    other = await office.sell()

    await office.work()

    assert await statuses(office) == ["NEEDS_RECEIPT", "QUEUED", "SIGNED"]
    assert (await office.receipt(other))["invc_no"] == 2


async def test_where_a_sale_is_refunded_once_the_rest_is_sold_anew(office: Office) -> None:
    office.configure(partial_refunds=PartialRefunds.FULL_AND_REISSUE)
    invoice = await office.sell(Line(total=7000), Line(total=3500))
    first = await office.credit(invoice, Line(total=4000))
    second = await office.credit(invoice, Line(total=6500))

    await office.work()

    labels = [(one.number, one.org_invc_no) for one in await receipts.of_sale(invoice)]
    assert labels == [("1/1 NS", None), ("1/2 NR", 1), ("2/3 NS", None), ("2/4 NR", 3)]
    totals = [one["totAmt"] for one in office.vsdc.sales.values()]
    assert totals == [10500, 10500, 6500, 6500]
    assert (await office.receipt(first, "NS"))["status"] == "SIGNED"
    assert (await office.receipt(second))["fiscal_label"] == "NR"


async def test_what_was_sold_before_there_was_a_device_is_not_refunded_at_it(
    office: Office,
) -> None:
    await office.run("DELETE FROM follower")
    with office.without_device():
        invoice = await office.sell()

    await office.follow()
    await office.credit(invoice, Line(total=15000))
    await office.sell()

    rows = await office.rows("SELECT document->>'number' AS number FROM fiscal_receipt")
    assert [row["number"] for row in rows] == ["INV-2026-000002"]


async def test_a_worker_without_the_device_leaves_its_sales_to_those_that_have_it(
    office: Office,
) -> None:
    with office.without_device():
        invoice = await office.sell()
        await office.credit(invoice, Line(total=15000))
        assert await signing.sign_due(office.core) == 0
    assert await statuses(office) == []

    await office.follow()
    await office.work()

    assert [one.number for one in await receipts.of_sale(invoice)] == ["1/1 NS", "1/2 NR"]


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


async def test_a_receipt_keeps_no_phone_number_and_no_key(
    office: Office, capfd: pytest.CaptureFixture[str]
) -> None:
    await office.sell()
    office.vsdc.switches = SimulatorSettings(answer="910", times=1)
    await office.work()

    kept = str(
        [
            await office.rows(f"SELECT * FROM {table}")
            for table in ("fiscal_receipt", "fiscal_device", "fiscal_item", "audit_entry")
        ]
    )
    said = "".join(capfd.readouterr())
    assert office.vsdc.items
    for secret in ("0780000000", "250780000000", "simulated-communication-key"):
        assert secret not in kept
        assert secret not in said


async def test_every_change_is_in_the_audit(office: Office) -> None:
    await office.sell()
    office.vsdc.line.faults = LOST
    await office.work()

    rows = await office.rows("SELECT action FROM audit_entry ORDER BY id")
    assert [row["action"] for row in rows] == [
        "fiscal_receipt.queued",
        "fiscal_device.initialized",
        "fiscal_receipt.sending",
        "fiscal_receipt.unknown",
        "fiscal_receipt.sending",
        "fiscal_receipt.needs_receipt",
    ]
