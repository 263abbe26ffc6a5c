"""The limits that results are compared with: pgbench, and a bare route without any of our work."""

import os
import re
import subprocess
from pathlib import Path

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dusangire.attempts import ADVANCE
from dusangire.payments import CREATE
from dusangire.queries import PAYMENT

# Two random numbers make the ids of a round; everything else is what a cash payment sends.
_ID = "(lpad(to_hex(:{0}::bigint), 16, '0') || lpad(to_hex(:{1}::bigint), 16, '0'))::uuid"
_VARIABLES = "\n".join(
    rf"\set {name} random(1, 9000000000000000000)" for name in ("a", "b", "c", "d", "e")
)


def pgbench_script(gateway_id: str) -> str:
    """The two statements of `createPayment` on cash: the same text, the same two transactions."""
    order, words = "'ORDER-' || to_hex(:e::bigint)", "'PAY-' || to_hex(:a::bigint)"
    payment, attempt, claim = _ID.format("a", "b"), _ID.format("b", "c"), _ID.format("c", "a")
    now = "now()"
    audit = ["'api_key'", "'bench'", "'payment.created'", "'payment'", '\'{"amount": "5000 RWF"}\'']
    create = [
        claim, "'merchant'", f"{claim}::text", "repeat('f', 64)", payment,
        f"{words} || to_hex(:d::bigint)", "5000", "'RWF'", order,
        "NULL::text", "NULL::text", "NULL::text", "NULL::timestamptz",
        f"{words} || ' ' || {order} || ' ' || {attempt}::text",
        "NULL::uuid", "NULL::text", "NULL::text", "NULL::text", "NULL::text",
        f"'{gateway_id}'::uuid", now, attempt, "'TEST'", f"{attempt}::text", "NULL::text",
        "NULL::text", "'{}'", "'bench'", "interval '70 s'", *audit, "'bench'",
        "NULL::uuid", "NULL::text", "NULL::text", "interval '70 s'",
    ]  # fmt: skip
    action = (
        '\'{"kind": "PayInPerson", "message": "Pay in cash when the goods arrive.", '
        '"amount": {"minor": 5000, "currency": "RWF"}}\''
    )
    log = '\'[{"kind": "INITIATE", "outcome": "pending", "duration_ms": 0}]\''
    advance = [
        payment, "1", attempt, "1", "'PENDING'", "NULL::text", "'{}'", "NULL::text", "NULL::bigint",
        "false", "NULL::interval", "0", "false", "false", "0", "NULL::timestamptz",
        "'payment.pending'::text", "'PENDING'::text", "0", action, "NULL::text", "NULL::text", "''",
        *audit, "'bench'", f"'{gateway_id}'::uuid", "'INITIATE'", log, "NULL::text",
    ]  # fmt: skip
    return f"{_VARIABLES}\n{_filled(CREATE, create)};\n{_filled(ADVANCE, advance)};\n"


def _filled(statement: str, values: list[str]) -> str:
    highest = max(int(n) for n in re.findall(r"\$(\d+)", statement))
    if highest != len(values):
        raise RuntimeError(f"the statement takes {highest} values, the benchmark has {len(values)}")
    # pgbench reads a script line by line and `--` to the end of one.
    text = " ".join(line.split("--")[0].strip() for line in statement.strip().splitlines())
    return re.sub(r"\$(\d+)", lambda match: f"({values[int(match.group(1)) - 1]})", text)


def pgbench(bin_dir: Path, url: str, script: Path, *, seconds: float, clients: int = 16) -> float:
    """Rounds of the script a second."""
    answer = subprocess.run(
        [
            str(bin_dir / "pgbench"),
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={clients}",
            "--jobs=1",
            f"--time={round(seconds)}",
            f"--file={script}",
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    found = re.search(r"tps = ([\d.]+)", answer.stdout)
    if answer.returncode or found is None or "ERROR" in answer.stderr:
        raise RuntimeError(f"pgbench failed: {answer.stderr[:1000]}")
    return float(found.group(1))


def bare_app() -> Starlette:
    """The same SQL, answered as JSON, and nothing else. Served like the real one."""
    pools: list[asyncpg.Pool] = []

    async def pool() -> asyncpg.Pool:
        if not pools:
            pools.append(
                await asyncpg.create_pool(os.environ["BENCH_URL"], min_size=1, max_size=16)
            )
        return pools[0]

    async def one(request: Request) -> Response:
        async with (await pool()).acquire() as connection:
            row = await connection.fetchrow(PAYMENT, request.path_params["id"])
        return Response(orjson.dumps(dict(row or {}), default=str), media_type="application/json")

    async def many(_request: Request) -> Response:
        async with (await pool()).acquire() as connection:
            rows = await connection.fetch(
                "SELECT payment.* FROM payment  ORDER BY created_at DESC, id DESC LIMIT 21"
            )
        return Response(
            orjson.dumps([dict(row) for row in rows], default=str), media_type="application/json"
        )

    return Starlette(routes=[Route("/payment/{id:uuid}", one), Route("/payments", many)])
