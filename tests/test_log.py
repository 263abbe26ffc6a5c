"""The log of a payment tells the whole story, in order, and holds no secret."""

import json
from typing import Any

from tests.harness.client import Merchant
from tests.harness.simulator import Simulator
from tests.harness.system import System


async def _stormy(merchant: Merchant, mtn: Simulator, key: str) -> str:
    """A payment whose request is lost, whose webhook lies, and which ends in cash."""
    await mtn.settings(delay=1.5)
    await mtn.faults(lost_replies=1, only="requesttopay", times=3, duplicated_webhooks=1)
    created = await merchant.create(key, phone="250780000205", amount="7300")
    await merchant.until(created.id, "FAILED", seconds=30)
    await merchant.attempt(f"{key} cash", created.id, charge=key, gateway="cod")
    await merchant.confirm(
        f"{key} paid", created.id, charge=key, amount="7300", evidence="courier Aline, receipt 12"
    )
    await merchant.until(created.id, "SUCCEEDED")
    return created.id


async def test_the_log_of_a_stormy_payment_tells_its_story_in_order(
    merchant: Merchant, mtn: Simulator, key: str
) -> None:
    payment_id = await _stormy(merchant, mtn, key)
    log = await merchant.transactions(payment_id)

    told = [(entry["kind"], entry["gateway"]["code"], entry["outcome"]) for entry in log]
    kinds = [kind for kind, _, _ in told]
    # An access token comes first, unless an earlier payment fetched one.
    lost = next(entry for entry in told if not entry[2].startswith("HTTP"))
    assert [entry["createdAt"] for entry in log] == sorted(entry["createdAt"] for entry in log)
    assert [int(entry["id"]) for entry in log] == sorted(int(entry["id"]) for entry in log)
    assert kinds[0] == "INITIATE"
    assert lost[:2] == ("INITIATE", "mtn")
    assert lost[2].startswith("unknown:")
    assert "CALLBACK" in kinds
    assert ("STATUS_CHECK", "mtn", "failed: DECLINED_BY_PAYER (APPROVAL_REJECTED)") in told
    assert told[-2:] == [("INITIATE", "cod", "pending"), ("MANUAL", "cod", "succeeded")]
    assert log[-1]["request"]["evidence"] == "courier Aline, receipt 12"


async def test_the_log_shows_what_was_sent_and_what_came_back(
    merchant: Merchant, mtn: Simulator, key: str
) -> None:
    created = await merchant.create(key, amount="7300")
    await merchant.until(created.id, "SUCCEEDED")
    log = await merchant.transactions(created.id)

    [charge] = (await mtn.truth()).told(key)
    request = next(e for e in log if e["kind"] == "INITIATE" and e["httpStatus"] == 202)
    answer = next(e for e in log if e["outcome"] == "succeeded")
    assert request["request"]["body"]["amount"] == "7300"
    assert request["request"]["body"]["externalId"] == charge["reference"]
    assert answer["response"]["body"]["status"] == "SUCCESSFUL"
    assert answer["response"]["body"]["financialTransactionId"] == charge["gateway_transaction_id"]
    assert all(entry["durationMs"] >= 0 for entry in log if entry["httpStatus"])


async def test_the_log_holds_no_secret_and_no_phone_number(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    payment_id = await _stormy(merchant, mtn, key)
    text = json.dumps(await merchant.transactions(payment_id), ensure_ascii=False)

    token = system.webhook_urls["mtn"].rpartition("/")[2]
    secrets = [*system.secrets.texts(), merchant.token, token, "eyJ0eXAiOiJKV1Qi", "250780000205"]
    assert [secret for secret in secrets if secret in text] == []
    assert "•••" in text


async def test_a_payer_does_not_read_how_the_merchant_talks_to_the_gateway(
    system: System, merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key)
    await merchant.until(created.id, "SUCCEEDED")

    payer = Merchant(system.addresses, created.client_token or "")
    async with payer:
        answer: Any = await payer.http.post(
            f"{system.addresses[0]}/graphql",
            json={
                "query": "query($id: ID!) "
                "{ payment(id: $id) { status transactions { edges { node { request } } } } }",
                "variables": {"id": created.id},
            },
            headers={"Authorization": f"Bearer {payer.token}"},
        )

    assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert "request" not in answer.text.replace("requests", "")
