"""How gateways do: measured by one process at a time, told when it changes, true for all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from core.tests.conftest import Script, Shop, open_shop, paid, until
from structlog.testing import capture_logs

from dusangire import codes, events, health, hookimpl, inbox
from dusangire.access import OPERATOR
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    GatewayDescription,
    Heard,
    Meaning,
    NotSent,
    Outcome,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.health import Health, HealthStatus, Traffic
from dusangire.tail import HEALTH

DECLINED = Failed(code=FailureCode.DECLINED_BY_PAYER, message="The payer said no.")
BROKE = Failed(code=FailureCode.GATEWAY_ERROR, message="It fell over.")


class Coded(Script):
    """A gateway that knows two of its provider's codes."""

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        known = {
            "51": Meaning(FailureCode.INSUFFICIENT_FUNDS, "There is too little money."),
            "09": Meaning(None, "It is not sure."),
        }
        return replace(Script.describe_gateway(self), codes=known)


@pytest.fixture
async def coded(tmp_path: Path, url: str) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, url, script=Coded()) as shop:
        yield shop


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def measured(shop: Shop, code: str = "script") -> Health:
    """The health as it is now, whoever measured it when."""
    await shop.run("UPDATE gateway_health SET measured_at = NULL")
    await health.measure(shop.core)
    [found] = await health.load([(await shop.account(code)).id])
    return found


async def told(shop: Shop) -> list[tuple[str, str | None]]:
    """What the events said: gateway and traffic."""
    rows = await shop.rows(
        "SELECT a.code, e.data->'health'->>'traffic' AS traffic FROM event e "
        "JOIN gateway_account a ON a.id = (e.data->>'gateway_id')::uuid "
        "WHERE type = 'gateway.health' ORDER BY e.id"
    )
    return [(row["code"], row["traffic"]) for row in rows]


# ── measuring ────────────────────────────────────────────────────────────────────────────────────


async def test_a_gateway_that_nobody_used_has_no_traffic_and_is_no_news(shop: Shop) -> None:
    found = await measured(shop)

    assert (found.status, found.success_rate, found.p95_ms) == (HealthStatus.NO_TRAFFIC, None, None)
    assert await told(shop) == []


@pytest.mark.parametrize(
    ("outcomes", "status", "rate"),
    [
        pytest.param([pays, pays, DECLINED, pays], HealthStatus.HEALTHY, 0.75, id="one decline"),
        pytest.param([DECLINED, DECLINED], HealthStatus.HEALTHY, 0, id="declines"),
        pytest.param([pays, BROKE, BROKE], HealthStatus.DEGRADED, 1 / 3, id="it broke most"),
        pytest.param([BROKE, BROKE], HealthStatus.DOWN, 0, id="it broke all"),
        pytest.param([Unknown(cause="?")] * 2, HealthStatus.DOWN, None, id="no answers"),
        pytest.param([NotSent(cause="?")] * 2, HealthStatus.DOWN, None, id="nobody there"),
        pytest.param([Accepted()], HealthStatus.HEALTHY, None, id="one under way"),
    ],
)
async def test_a_decline_is_the_payers_doing_and_an_outage_the_gateways(
    shop: Shop, outcomes: list[Any], status: HealthStatus, rate: float | None
) -> None:
    shop.script.says("initiate", *outcomes)
    for _ in outcomes:
        await shop.create()

    found = await measured(shop)

    assert found.status is status
    assert found.success_rate == (pytest.approx(rate) if rate is not None else None)
    assert await told(shop) == [("script", status.value)]


async def test_attempts_of_yesterday_do_not_count(shop: Shop) -> None:
    shop.script.says("initiate", BROKE)
    await shop.create()
    await shop.run("UPDATE payment_attempt SET created_at = now() - interval '61 min'")

    assert (await measured(shop)).status is HealthStatus.NO_TRAFFIC


async def test_the_time_to_the_end_is_that_of_the_slowest_but_one_in_twenty(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    for _ in range(20):
        await shop.create()
    await shop.run("UPDATE payment_attempt SET completed_at = created_at + interval '2 s'")
    await shop.run(
        "UPDATE payment_attempt SET completed_at = created_at + interval '1 h' "
        "WHERE id = (SELECT id FROM payment_attempt LIMIT 1)"
    )

    assert (await measured(shop)).p95_ms == 2000


async def test_the_last_error_is_the_gateways_and_has_its_time(shop: Shop) -> None:
    shop.script.says("initiate", BROKE, DECLINED)
    await shop.create()
    await shop.create()

    found = await measured(shop)

    assert found.last_error == BROKE.message
    assert found.last_error_at is not None
    assert datetime.now(UTC) - found.last_error_at < timedelta(minutes=1)


async def test_an_error_that_callers_saw_later_is_not_overwritten(shop: Shop) -> None:
    shop.script.says("initiate", BROKE)
    await shop.create()
    await measured(shop)
    await shop.run(
        "UPDATE gateway_health SET last_error = 'a timeout', last_error_at = now() + interval '1 s'"
    )

    assert (await measured(shop)).last_error == "a timeout"


async def test_the_last_webhook_is_known(shop: Shop) -> None:
    await shop.run(
        "INSERT INTO gateway_webhook (id, gateway_id, dedupe_key, method, headers, body, "
        "received_at) SELECT gen_random_uuid(), id, 'k', 'POST', '{}', '', "
        "'2026-06-01T12:00:00Z' FROM gateway_account WHERE code = 'script'"
    )

    assert (await measured(shop)).last_callback_at == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert (await measured(shop, "cash")).last_callback_at is None


async def test_one_process_measures_at_a_time(shop: Shop) -> None:
    await shop.run("DELETE FROM gateway_health")

    turns = await asyncio.gather(
        *(health.measure(replace(shop.core, settings=_calm(shop))) for _ in range(8))
    )

    assert sorted(turns) == [0] * 7 + [2]


def _calm(shop: Shop) -> Any:
    return replace(shop.core.settings, poll_scale=1.0)


async def test_ten_million_attempts_are_not_all_looked_at(shop: Shop) -> None:
    done = await shop.create()
    await shop.run(
        "INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, reference, "
        "status, completed_at, failure, created_at) "
        "SELECT gen_random_uuid(), payment_id, n + 1, gateway_id, 'TEST', n::text, 'FAILED', "
        """now(), '{"code": "GATEWAY_ERROR", "message": "old"}', """
        "now() - make_interval(secs => 600 + n) "
        "FROM payment_attempt, generate_series(1, 6000) AS n WHERE payment_id = $1",
        done.payment.id,
    )

    await measured(shop)

    [plan] = await shop.rows(
        "EXPLAIN (FORMAT JSON) SELECT status FROM payment_attempt WHERE gateway_id = $1 "
        "AND created_at > now() - interval '1 hour' ORDER BY created_at DESC LIMIT 5000",
        (await shop.account()).id,
    )
    assert "payment_attempt_gateway_idx" in str(plan)
    assert (await measured(shop)).status is HealthStatus.DEGRADED


# ── telling ──────────────────────────────────────────────────────────────────────────────────────


CALM = Traffic(status=HealthStatus.HEALTHY, success_rate=0.9, p95_ms=2000)


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({}, False),
        ({"status": HealthStatus.DEGRADED}, True),
        ({"success_rate": 0.86}, False),
        ({"success_rate": 0.84}, True),
        ({"success_rate": 0.96}, True),
        ({"success_rate": None}, True),
        ({"p95_ms": 2900}, False),
        ({"p95_ms": 3000}, True),
        ({"p95_ms": 1300}, True),
        ({"p95_ms": None}, True),
        ({"p95_ms": 0}, True),
    ],
    ids=str,
)
def test_what_somebody_should_know_is_news_and_noise_is_not(
    change: dict[str, Any], news: bool
) -> None:
    assert replace(CALM, **change).is_news_after(CALM) is news


async def test_a_slow_drift_is_told_too(shop: Shop) -> None:
    shop.script.says("initiate", *[pays] * 99, DECLINED)
    for _ in range(99):
        await shop.create()
    await measured(shop)
    for _ in range(9):
        await shop.create()
        await measured(shop)

    rates = await shop.rows(
        "SELECT (data->'health'->>'success_rate')::float8 AS rate FROM event "
        "WHERE type = 'gateway.health' ORDER BY id"
    )
    assert [round(row["rate"], 2) for row in rates] == [1.0, 0.94]


async def test_what_did_not_change_is_told_once(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    for _ in range(3):
        await shop.create()
        await shop.run("UPDATE payment_attempt SET completed_at = created_at + interval '2 s'")
        await measured(shop)

    assert await told(shop) == [("script", "HEALTHY")]


async def test_a_watcher_gets_every_gateway_now_and_then_each_change(live_shop: Shop) -> None:
    async with aclosing(events.watch_gateways(live_shop.core, OPERATOR)) as watched:
        now = [(await anext(watched)).code for _ in range(2)]

        live_shop.script.says("initiate", BROKE)
        done = await live_shop.create()
        await measured(live_shop)
        async with asyncio.timeout(5):
            changed = await anext(watched)

    assert sorted(now) == ["cash", "script"]
    assert done.payment.status == "FAILED"
    assert (changed.code, changed.told and changed.told.status) == ("script", HealthStatus.DOWN)
    assert len(live_shop.core.tail) == 0


async def test_a_slow_watcher_of_gateways_gets_all_of_them_as_they_are(live_shop: Shop) -> None:
    async with aclosing(events.watch_gateways(live_shop.core, OPERATOR)) as watched:
        for _ in range(2):
            await anext(watched)
        await live_shop.run(
            "INSERT INTO gateway_health (gateway_id) SELECT id FROM gateway_account"
        )
        await live_shop.run(
            "INSERT INTO event (type, data) SELECT 'gateway.health', "
            "jsonb_build_object('gateway_id', gateway_id, 'health', to_jsonb(h)) "
            "FROM gateway_health h, generate_series(1, 200)"
        )

        async def all_read() -> bool:
            return live_shop.core.tail.position == 400

        await until(all_read)
        seen = [(await anext(watched)).told for _ in range(2)]

    assert seen == [None, None]


async def test_events_of_payments_and_of_gateways_are_one_log(live_shop: Shop) -> None:
    live_shop.script.says("initiate", BROKE)
    async with aclosing(events.watch(live_shop.core, OPERATOR)) as watched:
        first = asyncio.ensure_future(anext(watched))
        await asyncio.sleep(0)
        await live_shop.create()
        await measured(live_shop)
        async with asyncio.timeout(5):
            seen = [await first, await anext(watched), await anext(watched)]

    assert [event.type for event in seen] == ["payment.created", "payment.failed", HEALTH]
    about = await events.gateway_of(live_shop.core, seen[2])
    assert about is not None
    assert (about.code, about.told and about.told.status) == ("script", HealthStatus.DOWN)
    assert (seen[2].payment, await events.gateway_of(live_shop.core, seen[0])) == (None, None)


# ── unmapped codes ───────────────────────────────────────────────────────────────────────────────


async def unmapped(shop: Shop) -> list[tuple[str, int]]:
    [found] = await codes.load([(await shop.account()).id])
    return [(one.code, one.count) for one in found]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Accepted(unmapped="ON_THE_MOON"), "ON_THE_MOON"),
        (replace(DECLINED, gateway_code="99"), "99"),
        (Unknown(cause="it says 98", gateway_code="98"), "98"),
        (replace(DECLINED, gateway_code="x" * 200), "x" * 100),
        (replace(DECLINED, gateway_code="51"), None),
        (Unknown(cause="it is not sure", gateway_code="09"), None),
        (DECLINED, None),
        (Accepted(), None),
    ],
    ids=str,
)
async def test_a_code_that_the_plugin_does_not_know_is_counted(
    coded: Shop, outcome: Outcome, code: str | None
) -> None:
    coded.script.says("initiate", outcome)

    await coded.create()
    await coded.create()

    assert await unmapped(coded) == ([(code, 2)] if code else [])


async def test_an_unmapped_failure_blocks_no_payment(coded: Shop) -> None:
    coded.script.says("initiate", replace(DECLINED, gateway_code="99"))

    done = await coded.create()

    assert done.payment.status == "FAILED"
    assert done.payment.needs_attention == ()


async def test_a_plugin_without_a_table_counts_nothing(shop: Shop) -> None:
    shop.script.says("initiate", replace(DECLINED, gateway_code="99"))

    await shop.create()

    assert await unmapped(shop) == []


async def test_a_signed_webhook_with_an_unmapped_code_counts_too(coded: Shop) -> None:
    done = await coded.create()
    reference = (await coded.attempt(done.payment.id))["reference"]
    outcome = Failed(code=FailureCode.OTHER, message="no", gateway_code="77", reference=reference)
    coded.script.reads = lambda _: Heard(
        reference=reference, trust=Trust.SIGNED, dedupe_key="1", outcome=outcome
    )
    account = await coded.account()
    request = WebhookRequest(method="POST", headers={}, body=b"{}")

    await inbox.accept(coded.core, "script", account.webhook_token, request)
    await coded.read_mail()

    assert await unmapped(coded) == [("77", 1)]


async def test_codes_without_end_fill_no_table(coded: Shop) -> None:
    account = await coded.account()
    for n in range(codes.MAX_CODES + 20):
        await codes.count(coded.core, account, replace(DECLINED, gateway_code=f"made up {n}"))
    await codes.count(coded.core, account, replace(DECLINED, gateway_code="made up 0"))

    found = await unmapped(coded)

    assert len(found) == codes.MAX_CODES
    assert found[0] == ("made up 0", 2)


async def test_a_new_code_is_logged_once_and_told_once(coded: Shop) -> None:
    coded.script.says("initiate", replace(DECLINED, gateway_code="99"))
    await measured(coded)

    with capture_logs() as logged:
        for _ in range(3):
            await coded.create()

    warnings = [line for line in logged if line.get("word") == "99"]
    assert [line["log_level"] for line in warnings] == ["warning"]
    assert len(await told(coded)) == 1


async def test_a_code_that_a_newer_plugin_knows_is_shown_no_more(coded: Shop) -> None:
    account = await coded.account()
    await coded.run(
        "INSERT INTO unmapped_code (id, gateway_id, code) "
        "SELECT gen_random_uuid(), $1, code FROM unnest(ARRAY['51', '52']) AS code",
        account.id,
    )

    [found] = await codes.load([account.id])

    assert [one.code for one in codes.still_unmapped(account, found)] == ["52"]
