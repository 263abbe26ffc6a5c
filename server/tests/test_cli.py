"""The command line, as somebody at a terminal or a script uses it."""

import asyncio
import json
import stat
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from server.tests.terminal import Ran, Terminal

from dusangire.testing.database import empty_database, fresh_database
from dusangire_schema import sdl

PROGRAM = Path(sys.executable).with_name("dusangire")


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with fresh_database() as url:
        yield Terminal(tmp_path, {"DUSANGIRE_DATABASE_URL": url})


@pytest.fixture
async def unmigrated(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with empty_database() as url:
        yield Terminal(tmp_path, {"DUSANGIRE_DATABASE_URL": url})


async def test_help_imports_neither_core_nor_database(tmp_path: Path) -> None:
    look = (
        "import sys; from dusangire_server.cli.main import application; application(['--help']);"
        "print([name for name in ('tortoise', 'httpx', 'graphql') if name in sys.modules])"
    )

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", look, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()

    assert out.decode().strip() == "[]"


async def test_the_installed_program_does_as_it_is_told(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "schema", "print", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()

    assert process.returncode == 0
    assert out.decode() == sdl()


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("keys", "create", "--name", "shop", "--scope", "EVERYTHING"),
        ("gateways", "save", "mtn", "--plugin", "mtn", "--set", "hunter2-without-a-name"),
        ("gateways", "save", "mtn", "--plugin", "mtn", "--set", "pin=@/not/there"),
    ],
    ids=" ".join,
)
async def test_what_cannot_be_read_is_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = await Terminal(tmp_path).run(*words)

    assert ran.status == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert "hunter2" not in ran.err


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_is_shown_once_and_can_be_revoked(terminal: Terminal) -> None:
    made = await terminal.run(
        "keys", "create", "--name", "shop", "--scope", "payments_read", "--scope",
        "PAYMENTS_WRITE", "--json",
    )  # fmt: skip
    listed = await terminal.run("keys", "list", "--json")
    revoked = await terminal.run("keys", "revoke", made.json["prefix"], "--json")

    key = made.json
    assert sorted(key) == [
        "createdAt", "id", "lastUsedAt", "name", "prefix", "revokedAt", "scopes", "secret",
    ]  # fmt: skip
    assert key["secret"].startswith(f"{key['prefix']}_")
    assert key["scopes"] == ["PAYMENTS_READ", "PAYMENTS_WRITE"]
    assert [one["id"] for one in listed.json] == [key["id"]]
    assert key["secret"].rpartition("_")[2] not in listed.out
    assert revoked.json["revokedAt"] is not None


async def test_without_json_the_key_alone_is_on_stdout(terminal: Terminal) -> None:
    made = await terminal.run("keys", "create", "--name", "shop", "--scope", "ADMIN")

    assert made.status == 0
    assert made.out.startswith("dpk_")
    assert len(made.out.splitlines()) == 1


# ── gateways ─────────────────────────────────────────────────────────────────────────────────────

MTN = (
    "gateways", "save", "mtn", "--plugin", "mtn", "--json",
    "--set", "base_url=http://127.0.0.1:1/",
    "--set", "target_environment=mtnrwanda",
    "--set", "collection_api_user=3f2b8c1e-5d47-4a90-9b6e-0c1d2e3f4a5b",
    "--set", "collection_subscription_key=@subscription.key",
    "--set", "collection_api_key=env:MTN_API_KEY",
)  # fmt: skip


async def test_a_gateway_moves_to_another_host_only_with_its_secrets(terminal: Terminal) -> None:
    (terminal.folder / "subscription.key").write_text("subscription-of-the-shop")
    await terminal.run(*MTN, MTN_API_KEY="key-of-the-shop")
    elsewhere = ("--set", "base_url=http://127.0.0.1:2/")

    refused = await terminal.run("gateways", "save", "mtn", *elsewhere)
    moved = await terminal.run(*MTN, *elsewhere, MTN_API_KEY="key-of-the-shop")

    assert refused.status != 0
    assert "collection_api_key, collection_subscription_key" in " ".join(refused.err.split())
    assert moved.json["config"]["base_url"] == "http://127.0.0.1:2"


async def test_a_gateway_takes_secrets_from_a_file_and_the_environment(terminal: Terminal) -> None:
    (terminal.folder / "subscription.key").write_text("subscription-of-the-shop\n")

    saved = await terminal.run(
        *MTN, MTN_API_KEY="key-of-the-shop", DUSANGIRE_PUBLIC_URL="https://pay.example.rw"
    )
    changed = await terminal.run("gateways", "save", "mtn", "--name", "Mobile money", "--disable")
    listed = await terminal.run("gateways", "list", "--json")
    tested = await terminal.run("gateways", "test", "mtn", "--json")

    assert saved.json["webhookUrl"] == f"https://pay.example.rw{saved.json['webhookPath']}"
    assert saved.json["webhookPath"].startswith("/webhooks/mtn/")
    assert changed.status == 0
    [gateway] = listed.json
    assert (gateway["name"], gateway["enabled"]) == ("Mobile money", False)
    assert gateway["config"]["target_environment"] == "mtnrwanda"
    assert gateway["config"]["collection_subscription_key"] == "•••shop"
    assert gateway["webhookUrl"] is None
    assert "of-the-shop" not in saved.out + changed.out + changed.err + listed.out
    assert tested.status == 1
    assert json.loads(tested.out)["ok"] is False


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("save", "new"), 2, "--plugin"),
        (("save", "new", "--plugin", "nobody"), 3, "nobody"),
        (("save", "cod", "--plugin", "cod", "--set", "colour=red"), 1, "colour"),
    ],
)
async def test_a_gateway_that_cannot_be_saved_says_why(
    terminal: Terminal, words: tuple[str, ...], status: int, says: str
) -> None:
    ran = await terminal.run("gateways", *words)

    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


async def test_gateway_plugins_show_what_they_want_to_know(terminal: Terminal) -> None:
    ran = await terminal.run("gateways", "plugins", "--json")

    found = {plugin["name"]: plugin for plugin in ran.json}
    assert "STATUS_CHECK" in found["mtn"]["capabilities"]
    assert "collection_api_key" in found["mtn"]["configSchema"]["properties"]


# ── payments ─────────────────────────────────────────────────────────────────────────────────────


async def test_cash_is_created_listed_confirmed_and_shown(terminal: Terminal) -> None:
    await terminal.run("gateways", "save", "cod", "--plugin", "cod")
    words = ("payments", "create", "--amount", "5000", "--gateway", "cod", "--order", "A-1")

    made = await terminal.run(*words, "--idempotency-key", "k1", "--json")
    again = await terminal.run(*words, "--idempotency-key", "k1", "--json")
    listed = await terminal.run("payments", "list", "--order", "A-1", "--json")
    reference = made.json["reference"]
    confirmed = await terminal.run(
        "payments", "confirm", reference, "--evidence", "Jean the courier", "--json"
    )
    shown = await terminal.run("payments", "show", made.json["id"], "--json")

    assert made.json["status"] == "PENDING"
    assert made.json["amount"] == {"amount": "5000", "currency": "RWF"}
    assert made.json["gateway"] == "cod"
    assert made.json["nextAction"]["__typename"] == "PayInPerson"
    assert (again.json["id"], again.json["replayed"]) == (made.json["id"], True)
    assert [one["reference"] for one in listed.json["payments"]] == [reference]
    assert listed.json["hasNextPage"] is False
    assert confirmed.json["status"] == "SUCCEEDED"
    assert shown.json["attempts"][0]["status"] == "SUCCEEDED"
    assert [one["kind"] for one in shown.json["transactions"]][-1] == "MANUAL"


async def test_a_payment_without_a_method_can_be_cancelled(terminal: Terminal) -> None:
    made = await terminal.run("payments", "create", "--amount", "10.50", "--currency", "USD")
    reference = made.out.split()[1]

    cancelled = await terminal.run(
        "payments", "cancel", reference, "--reason", "no stock", "--json"
    )

    assert cancelled.json["status"] == "CANCELLED"
    assert cancelled.json["amount"] == {"amount": "10.50", "currency": "USD"}


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("show", "PAY-00000000"), 3, "PAY-00000000"),
        (("create", "--amount", "1.5"), 1, "decimals"),
    ],
)
async def test_a_payment_that_cannot_be_had_says_why(
    terminal: Terminal, words: tuple[str, ...], status: int, says: str
) -> None:
    ran = await terminal.run("payments", *words, "--json")

    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err
    assert len(ran.err.splitlines()) <= 2


async def test_what_is_kept_of_a_customer_is_listed_and_removed(terminal: Terminal) -> None:
    await terminal.run("gateways", "save", "cod", "--plugin", "cod")
    await terminal.run("payments", "create", "--amount", "5000", "--customer", "C-1")
    await _keep_a_number(terminal)

    [kept] = (await terminal.run("payments", "methods", "C-1", "--json")).json
    table = await terminal.run("payments", "methods", "C-1")
    wrong = await terminal.run("payments", "methods", "C-2", "--remove", kept["id"])
    left = await terminal.run("payments", "methods", "C-1", "--remove", kept["id"], "--json")

    assert (kept["gateway"], kept["label"], kept["kind"]) == ("cod", "+2507****456", "PHONE")
    assert "+250788123456" not in str(kept) + table.out
    assert "remember me" in table.out
    assert wrong.status == 3
    assert left.json == []


async def _keep_a_number(terminal: Terminal) -> None:
    connection = await asyncpg.connect(terminal.environment["DUSANGIRE_DATABASE_URL"])
    try:
        await connection.execute(
            "INSERT INTO stored_method (id, customer_id, gateway_id, kind, label, phone, consent, "
            "consented_at, consented_by) SELECT gen_random_uuid(), customer.id, gateway_account.id,"
            " 'PHONE', '+2507****456', '+250788123456', 'remember me', now(), 'api_key: shop' "
            "FROM customer, gateway_account"
        )
    finally:
        await connection.close()


async def test_a_consent_needs_a_gateway_that_keeps_methods(terminal: Terminal) -> None:
    await terminal.run("gateways", "save", "cod", "--plugin", "cod")
    words = ("payments", "create", "--amount", "5000", "--gateway", "cod", "--customer", "C-1")

    kept = await terminal.run(*words, "--store-consent", "remember me")
    used = await terminal.run(*words, "--stored-method", "nothing")

    assert (kept.status, used.status) == (1, 3)
    assert "storeConsent" in kept.err
    assert "storedMethodId" in used.err


# ── the installation ─────────────────────────────────────────────────────────────────────────────


async def test_a_database_is_migrated_by_command_only(unmigrated: Terminal) -> None:
    missing = await unmigrated.run("migrate", "--check", "--json")
    refused = await unmigrated.run("payments", "list")
    sick = await unmigrated.run("doctor", "--json")
    first, second = await asyncio.gather(
        unmigrated.run("migrate", "--json"), unmigrated.run("migrate", "--json")
    )

    names = json.loads(missing.out)["missing"]
    assert missing.status == 1
    assert names
    assert (refused.status, "dusangire migrate" in refused.err) == (1, True)
    assert sick.status == 1
    assert _statuses(sick)["migrations"] == "fail"
    assert sorted([first.json["applied"], second.json["applied"]]) == [[], names]


async def test_new_keys_take_over_and_the_old_one_may_go(terminal: Terminal) -> None:
    old, new = (f"{name}:{b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))
    await terminal.run("gateways", "save", "cod", "--plugin", "cod", DUSANGIRE_SECRET_KEYS=old)

    early = await terminal.run("gateways", "list", DUSANGIRE_SECRET_KEYS=new)
    both = {"DUSANGIRE_SECRET_KEYS": f"{new},{old}"}
    done = await terminal.run("secrets", "rotate", "--json", **both)
    again = await terminal.run("secrets", "rotate", **both)
    late = await terminal.run("gateways", "list", "--json", DUSANGIRE_SECRET_KEYS=new)

    assert (early.status, late.status) == (1, 0)
    assert done.json == {
        "key": "k2",
        "gateways": 1,
        "storedMethods": 0,
        "uploads": 0,
        "webhookEndpoints": 0,
        "codeGenerators": 0,
    }
    assert again.err.startswith("0 gateways, 0 stored methods, 0 webhook endpoints and 0 code")


async def test_doctor_says_what_is_missing_and_what_to_do(terminal: Terminal) -> None:
    looked = await terminal.run("doctor", "--json")
    shown = await terminal.run("doctor")

    assert looked.status == 0
    assert looked.json["ok"] is True
    assert _statuses(looked) == {
        "keys": "ok", "database": "ok", "migrations": "ok", "clock": "ok", "api keys": "warn",
        "merchant": "warn", "invoices": "ok", "worker": "warn", "audit": "ok", "books": "ok",
        "gateways": "warn",
    }  # fmt: skip
    assert "→ dusangire keys create" in shown.out
    keys = terminal.folder / ".dusangire" / "secret.keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


async def test_the_merchant_is_said_shown_and_looked_at_by_the_doctor(terminal: Terminal) -> None:
    logo = terminal.folder / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect width="2" height="1"/></svg>')

    nobody = await terminal.run("merchant", "show")
    wrong = await terminal.run("merchant", "set", "--name", "Inyange", "--tin", "12345678")
    nothing = await terminal.run("merchant", "set")
    said = await terminal.run(
        "merchant", "set", "--name", "Inyange", "--tin", "002345678", "--vat",
        "--address", r"KG 11 Ave\nKigali", "--logo", str(logo), "--json",
    )  # fmt: skip
    shown = await terminal.run("merchant", "show")
    without = await terminal.run("merchant", "set", "--no-logo", "--phone", "", "--json")
    looked = await terminal.run("doctor", "--json")

    assert (nobody.status, wrong.status, nothing.status) == (3, 1, 2)
    assert "dusangire merchant set" in nobody.err
    assert "nine digits" in wrong.err
    assert said.json["tin"] == "002345678"
    assert said.json["address"] == "KG 11 Ave\nKigali"
    assert "KG 11 Ave, Kigali" in shown.out
    assert "image/svg+xml" in shown.out
    assert (without.json["logo"], without.json["vatRegistered"]) == (None, True)
    assert _statuses(looked)["merchant"] == "ok"


async def test_a_draft_is_listed_shown_issued_and_its_number_looked_at(terminal: Terminal) -> None:
    await _run(
        terminal,
        "WITH draft AS (INSERT INTO invoice (id, kind, series, currency, net, tax, total) VALUES "
        "(gen_random_uuid(), 'INVOICE', 'INV', 'RWF', 5932, 1068, 7000) RETURNING id) "
        "INSERT INTO invoice_line (id, invoice_id, place, description, quantity, unit_price, "
        "tax_class, tax_rate, tax, total) SELECT gen_random_uuid(), id, 1, 'Beans', 2000, 3500, "
        "'B', 1800, 1068, 7000 FROM draft",
    )

    listed = await terminal.run("invoices", "list", "--status", "draft", "--json")
    [draft] = listed.json["invoices"]
    issued = await terminal.run("invoices", "issue", draft["id"], "--json")
    again = await terminal.run("invoices", "issue", draft["id"], "--json")
    shown = await terminal.run("invoices", "show", issued.json["number"])
    plain = await terminal.run("invoices", "list")
    unknown = await terminal.run("invoices", "show", "INV-1999-000001")
    good = await terminal.run("doctor", "--json")
    await _run(terminal, "UPDATE document_counter SET reached = 3")
    bad = await terminal.run("doctor")

    assert (draft["status"], draft["number"]) == ("DRAFT", None)
    assert issued.json["lines"][0]["taxRate"] == "18"
    assert again.json["number"] == issued.json["number"]
    assert "Beans  2         3,500 RWF   B 18 %     1,068 RWF  7,000 RWF" in shown.out
    assert issued.json["number"] in plain.out
    assert (unknown.status, good.json["ok"]) == (3, True)
    assert _statuses(good)["invoices"] == "ok"
    assert bad.status == 1
    assert "3 given, 1 there from 1 to 1" in bad.out


async def test_a_gateway_that_gives_no_answers_and_unknown_codes_are_shown(
    terminal: Terminal,
) -> None:
    await terminal.run("gateways", "save", "cod", "--plugin", "cod")
    await _run(
        terminal,
        "INSERT INTO gateway_health (gateway_id, term, probe_at, last_error, last_error_at) "
        "SELECT id, 1, now() + interval '1 h', 'ReadTimeout', now() FROM gateway_account",
    )
    await _run(
        terminal,
        "INSERT INTO unmapped_code (id, gateway_id, code, count) "
        "SELECT gen_random_uuid(), id, 'E-77', 3 FROM gateway_account",
    )

    table = await terminal.run("gateways", "list")
    listed = await terminal.run("gateways", "list", "--json")
    looked = await terminal.run("doctor")

    assert "down, left alone" in table.out
    health = listed.json[0]["health"]
    assert (health["status"], health["breaker"]) == ("DOWN", "OPEN")
    assert looked.status == 1
    assert "gives no answers, so new payments with it are refused. Last error: ReadTimeout." in (
        looked.out
    )
    assert "→ dusangire gateways test cod" in looked.out
    assert "codes that the plugin cod does not know: E-77 (3×)." in looked.out


async def _run(terminal: Terminal, statement: str) -> None:
    connection = await asyncpg.connect(terminal.environment["DUSANGIRE_DATABASE_URL"])
    await connection.execute(statement)
    await connection.close()


async def test_a_database_that_is_away_takes_two_lines_and_tells_no_password(
    tmp_path: Path,
) -> None:
    away = Terminal(
        tmp_path, {"DUSANGIRE_DATABASE_URL": "postgres://shop:hunter2@127.0.0.1:1/shop"}
    )

    ran = await away.run("keys", "list")
    debugged = await away.run("--debug", "migrate")

    assert ran.status == 1
    assert "does not answer" in ran.err
    assert len(ran.err.splitlines()) <= 2
    assert "Traceback" in debugged.err
    assert "hunter2" not in ran.err + debugged.err


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (("keys", "list"), {"DUSANGIRE_ENVIRONMENT": "live"}, "DUSANGIRE_SECRET_KEYS"),
        (("demo",), {"DUSANGIRE_ENVIRONMENT": "live"}, "simulated gateways only"),
        (("serve",), {"DUSANGIRE_SECRET_KEYS": "k1:hunter2"}, "32 bytes"),
    ],
)
async def test_settings_that_are_wrong_are_named(
    terminal: Terminal, words: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    ran = await terminal.run(*words, **environment)

    assert ran.status == 1
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert "hunter2" not in ran.err


async def test_schema_print_is_the_schema(tmp_path: Path) -> None:
    ran = await Terminal(tmp_path).run("schema", "print")

    assert ran.out == sdl()


# ── plugins ──────────────────────────────────────────────────────────────────────────────────────


async def test_plugins_are_listed_without_being_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "site" / "broken-1.2.dist-info"
    broken.mkdir(parents=True)
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.2\n")
    (broken / "entry_points.txt").write_text("[dusangire]\nbroken = no_such_module\n")
    terminal = Terminal(tmp_path, {"PYTHONPATH": str(tmp_path / "site")})

    listed = await terminal.run("plugins", "list", "--json")
    checked = await terminal.run("plugins", "check", "broken", "--json")

    found = {plugin["name"]: plugin for plugin in listed.json}
    assert found["broken"] == {
        "name": "broken", "package": "broken", "version": "1.2", "module": "no_such_module",
    }  # fmt: skip
    assert "mtn" in found
    assert checked.status == 1
    assert "no_such_module" in json.loads(checked.out)["error"]


async def test_a_plugin_check_shows_what_it_can_do_and_what_not(tmp_path: Path) -> None:
    ran = await Terminal(tmp_path).run("plugins", "check", "cod", "--json")
    unknown = await Terminal(tmp_path).run("plugins", "check", "nobody")

    assert ran.json["ok"] is True
    assert "MANUAL_CONFIRMATION" in ran.json["capabilities"]
    assert "check_payment" in ran.json["missingHooks"]
    assert unknown.status == 3


def _statuses(doctor: Ran) -> dict[str, str]:
    return {check["name"]: check["status"] for check in json.loads(doctor.out)["checks"]}
