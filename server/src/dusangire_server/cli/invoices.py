"""dusangire invoices"""

from typing import Annotated, Any, TypeAlias
from uuid import UUID

import typer

from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.errors import NotFound
from dusangire.invoicing import invoices
from dusangire.invoicing.documents import links
from dusangire.queries import Page
from dusangire.records import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from dusangire_server.cli.output import AsJson, put_facts, put_json, put_table, say, to_json
from dusangire_server.cli.session import run

app = typer.Typer()

Number: TypeAlias = Annotated[
    str, typer.Argument(metavar="INVOICE", help="Its number, INV-… or CN-…, or its id.")
]


@app.command("list")
def list_(
    status: Annotated[list[InvoiceStatus] | None, typer.Option(case_sensitive=False)] = None,
    kind: Annotated[InvoiceKind | None, typer.Option(case_sensitive=False)] = None,
    first: Annotated[int, typer.Option(help="How many, at most 100.")] = 25,
    after: Annotated[str | None, typer.Option(help="The cursor that the last page gave.")] = None,
    as_json: AsJson = False,
) -> None:
    """Invoices and credit notes, the newest first."""

    async def work(_core: Core, _url: str) -> Page[Invoice]:
        return await invoices.invoices(OPERATOR, status, kind, first, after)

    page = run(work)
    end = page.cursors[-1] if page.cursors else None
    if as_json:
        shown = [_plain(one) for one in page.items]
        put_json({"invoices": shown, "endCursor": end, "hasNextPage": page.has_next})
        return
    put_table(
        ("number", "kind", "status", "total", "tax", "buyer", "issued", "id"),
        [
            (
                one.number,
                one.kind,
                one.status,
                one.total,
                one.tax,
                (one.buyer or {}).get("name"),
                one.issued_at,
                one.id,
            )
            for one in page.items
        ],
    )
    if page.has_next:
        say(f"There are more: --after {end}")


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """One of them, its lines, its credit notes, and a link to its PDF."""

    async def work(core: Core, _url: str) -> "_Shown":
        return await _shown(core, await _find(number))

    _put(run(work), as_json=as_json)


@app.command()
def issue(number: Number, as_json: AsJson = False) -> None:
    """Give a draft its number. From then on it cannot be changed."""

    async def work(core: Core, _url: str) -> "_Shown":
        found = await _find(number)
        return await _shown(core, await invoices.issue_invoice(core, OPERATOR, found.id))

    _put(run(work), as_json=as_json)


_Shown: TypeAlias = tuple[Invoice, list[InvoiceLine], list[Invoice], str | None]


async def _find(text: str) -> Invoice:
    try:
        found = await invoices.invoice(OPERATOR, id=UUID(text))
    except ValueError:
        found = await invoices.invoice(OPERATOR, number=text)
    if found is None:
        raise NotFound(f"There is no invoice {text}. `dusangire invoices list` shows the newest.")
    return found


async def _shown(core: Core, found: Invoice) -> _Shown:
    lines = (await invoices.lines([found.id]))[found.id]
    notes = (await invoices.credit_notes([found.id]))[found.id]
    return found, lines, notes, links.pdf_url(core, found)


def _put(shown: _Shown, *, as_json: bool) -> None:
    found, lines, notes, link = shown
    if as_json:
        plain = _plain(found)
        said = [_line(line) for line in lines]
        credited = [_plain(note) for note in notes]
        put_json({**plain, "lines": said, "creditNotes": credited, "pdfUrl": link})
        return
    put_facts(
        {
            "number": found.number,
            "id": found.id,
            "kind": found.kind,
            "status": found.status,
            "total": found.total,
            "tax": found.tax,
            "buyer": (found.buyer or {}).get("name"),
            "note": found.note,
            "due": found.due_on,
            "issued": found.issued_at,
            "paid": found.paid_at,
            "credited by": [note.number for note in notes],
            "pdf": link,
        }
    )
    typer.echo()
    put_table(
        ("line", "quantity", "unit price", "tax class", "tax", "total"),
        [
            (
                line.description,
                f"{line.quantity:f}",
                line.unit_price,
                f"{line.tax_class} {line.tax_rate:f} %",
                line.tax,
                line.total,
            )
            for line in lines
        ],
    )


def _line(line: InvoiceLine) -> dict[str, Any]:
    return {
        **to_json(line),
        "quantity": f"{line.quantity:f}",
        "taxRate": f"{line.tax_rate:f}",
    }


def _plain(invoice: Invoice) -> dict[str, Any]:
    """As the API shows it: with the ids of what stands beside it, and without phone numbers."""
    plain: dict[str, Any] = to_json(invoice)
    for party in ("seller", "buyer"):
        copy = getattr(invoice, party)
        plain[party] = copy and {
            "name": copy.get("name"),
            "taxId": copy.get("tin"),
            "address": copy.get("address"),
            "purchaseCode": copy.get("purchase_code"),
        }
    plain["dueOn"] = invoice.due_on.isoformat() if invoice.due_on else None
    return plain
