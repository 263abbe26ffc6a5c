"""`dusangire statements`, as somebody at a terminal uses it: real processes."""

from server.tests.terminal import Terminal
from server.tests.test_cli import terminal

__all__ = ["terminal"]

CSV = """Book Date,Value Date,Reference,Narration,Debit,Credit,Balance
2026-11-02,2026-11-02,FT26306AB1C2,Incoming Trsf | SHOP CUSTOMER A 0000017,,"15,000","115,000"
2026-11-02,2026-11-02,FTCM26306XY1,MTN MOBILE MONEY : transfer | RF59RW00000042,,"5,000","120,000"
2026-11-03,2026-11-03,FT26307QQ7D1,IB Account transfer : SUPPLIER B,"20,000",,"100,000"
2026-11-03,2026-11-03,FT26307QQ7D2,,,"1,250","101,250"
"""


async def test_a_statement_is_tried_then_imported_then_looked_at(terminal: Terminal) -> None:
    file = terminal.folder / "november.csv"
    file.write_text(CSV)

    saved = await terminal.run("statements", "save", "bk", "--name", "Bank of Kigali")
    tried = await terminal.run("statements", "import", str(file), "--account", "bk", "--dry-run")
    done = await terminal.run("statements", "import", str(file), "--account", "bk", "--json")
    lines = await terminal.run("statements", "lines", "--account", "bk", "--json")
    nobody = await terminal.run("statements", "import", str(file), "--account", "nobody")
    (terminal.folder / "broken").write_bytes(b"\x00\x01")
    broken = await terminal.run(
        "statements", "import", str(terminal.folder / "broken"), "--account", "bk"
    )

    assert saved.status == 0, saved.err
    assert "nothing was stored" in tried.err
    assert [amount in tried.out for amount in ("15,000 RWF", "1,250 RWF")] == [True, True]
    assert (done.json["status"], done.json["linesNew"]) == ("COMPLETED", 4)
    assert [one["direction"] for one in lines.json["lines"]].count("CREDIT") == 3
    assert (nobody.status, broken.status) == (3, 1)
    assert "in no format" in broken.err


async def test_a_report_on_a_terminal_says_in_words_what_does_not_agree(terminal: Terminal) -> None:
    file = terminal.folder / "november.csv"
    file.write_text(CSV)
    await terminal.run("statements", "save", "bk", "--name", "Bank of Kigali")
    await terminal.run("statements", "import", str(file), "--account", "bk")

    days = ("--from", "2026-11-01", "--to", "2026-11-20")
    shown = await terminal.run("reconcile", "--account", "bk", *days)

    assert shown.status == 0, shown.err
    facts = dict(line.split("  ", 1) for line in shown.out.splitlines() if "  " in line)
    assert facts["lines not matched, in"].strip() == "21,250"
    assert "\nUNIDENTIFIED_DEBIT, 2026-11-03\n20,000 RWF left Bank of Kigali" in shown.out
