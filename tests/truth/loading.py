"""Payments and refunds as rows, many at once, as if they had been made one by one."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from tests.truth.known import Paid, Refunded, id_of

_ENDED = {"FAILED", "EXPIRED", "CANCELLED"}
_PAYMENT = (
    "id", "reference", "status", "amount", "currency", "captured", "refunded", "order_reference",
    "customer_id", "gateway_id", "failure", "needs_attention", "created_at", "updated_at",
    "expires_at", "completed_at",
)  # fmt: skip
_ATTEMPT = (
    "id", "payment_id", "number", "gateway_id", "environment", "status", "reference",
    "gateway_transaction_id", "phone", "fee", "failure", "created_at", "completed_at",
)  # fmt: skip
_REFUND = (
    "id", "reference", "payment_id", "attempt_id", "gateway_id", "status", "amount", "currency",
    "reason", "digest", "by_hand", "requested_by_kind", "requested_by_name", "gateway_reference",
    "gateway_transaction_id", "created_at", "completed_at",
)  # fmt: skip
_TOLD = """
INSERT INTO event (type, payment_id, data, occurred_at)
SELECT 'payment.' || CASE WHEN captured > 0 THEN 'succeeded' ELSE lower(status) END, id,
    to_jsonb(payment) - 'search', coalesce(completed_at, created_at)
FROM payment WHERE id = ANY($1::uuid[]) ORDER BY created_at, id"""
_TOLD_REFUNDS = """
INSERT INTO event (type, payment_id, data, occurred_at)
SELECT 'refund.succeeded', p.id,
    jsonb_build_object('payment', to_jsonb(p) - 'search', 'refund', to_jsonb(r)), r.completed_at
FROM refund r JOIN payment p ON p.id = r.payment_id
WHERE r.id = ANY($1::uuid[]) ORDER BY r.created_at, r.id"""


async def load(
    url: str,
    gateways: Mapping[str, UUID],
    payments: Iterable[Paid],
    refunds: Iterable[Refunded] = (),
) -> None:
    """gateways: the id of each, by its code."""
    paid, back = list(payments), list(refunds)
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await _copy(connection, "customer", ("id", "reference", "name"), _customers(paid))
            await _copy(connection, "payment", _PAYMENT, (_payment(p, gateways) for p in paid))
            await _copy(
                connection,
                "payment_attempt",
                _ATTEMPT,
                (row for p in paid for row in _attempts(p, gateways)),
            )
            # A refund begins as a request, and a trigger sees to it; these have ended already.
            await connection.execute("SET LOCAL session_replication_role = replica")
            await _copy(connection, "refund", _REFUND, (_refund(r, gateways) for r in back))
            await connection.execute("SET LOCAL session_replication_role = origin")
            await connection.execute(_TOLD, [p.id for p in paid])
            await connection.execute(_TOLD_REFUNDS, [r.id for r in back])
    finally:
        await connection.close()


async def _copy(
    connection: "asyncpg.Connection[asyncpg.Record]",
    table: str,
    columns: tuple[str, ...],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    await connection.copy_records_to_table(table, columns=columns, records=rows)


def _customers(payments: Iterable[Paid]) -> list[tuple[Any, ...]]:
    return [
        (id_of(f"customer of {p.name}"), f"customer of {p.name}", p.payer)
        for p in payments
        if p.payer
    ]


def _payment(p: Paid, gateways: Mapping[str, UUID]) -> tuple[Any, ...]:
    captured = p.amount * (2 if p.second else 1) if _captured(p) else 0
    status = p.status
    if p.refunded:
        status = "REFUNDED" if p.refunded == captured else "PARTIALLY_REFUNDED"
    failure = json.dumps({"code": "DECLINED", "message": "Declined."}) if _failed(p) else None
    return (
        p.id, p.name, status, p.amount, p.currency, captured, p.refunded, p.order,
        id_of(f"customer of {p.name}") if p.payer else None, gateways[p.gateway], failure,
        '["DUPLICATE_CAPTURE"]' if p.second else "[]",
        _asked(p), p.at, _asked(p) + timedelta(days=7), None if p.status == "PENDING" else p.at,
    )  # fmt: skip


def _attempts(p: Paid, gateways: Mapping[str, UUID]) -> list[tuple[Any, ...]]:
    failure = json.dumps({"code": "DECLINED", "message": "Declined."}) if _failed(p) else None
    one = (
        id_of(f"attempt of {p.name}"), p.id, 1, gateways[p.gateway], "TEST", p.status,
        p.attempt, p.transaction, p.phone, p.fee, failure, _asked(p),
        None if p.status == "PENDING" else p.at,
    )  # fmt: skip
    if not p.second:
        return [one]
    again = (
        id_of(f"second attempt of {p.name}"), p.id, 2, gateways[p.gateway], "TEST", "SUCCEEDED",
        p.again, p.second, p.phone, p.fee, None, _asked(p), p.at,
    )  # fmt: skip
    return [one, again]


def _refund(r: Refunded, gateways: Mapping[str, UUID]) -> tuple[Any, ...]:
    return (
        r.id, r.name, r.of.id, id_of(f"attempt of {r.of.name}"), gateways[r.of.gateway],
        "SUCCEEDED", r.amount, r.of.currency, "asked for", "digest", False, "operator",
        "operator", f"{r.name}-1", r.transaction, r.at, r.at,
    )  # fmt: skip


def _captured(p: Paid) -> bool:
    return p.status == "SUCCEEDED"


def _failed(p: Paid) -> bool:
    return p.status in _ENDED


def _asked(p: Paid) -> Any:
    return p.at - timedelta(minutes=2)
