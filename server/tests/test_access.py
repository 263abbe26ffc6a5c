"""Who may do what: a row for each root field of the schema, a column for each kind of caller.

S20 and S21 of the security checklist. A new root field without a row fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dusangire.errors import ConfirmationNeeded
from dusangire.permissions import RULES, Permission, Role, Scope
from dusangire_schema import executable
from dusangire_server.testing import Person, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

# ok: it is done, or refused for another reason · no: FORBIDDEN · none: as if there were nothing
# confirm: once the person has shown who they are
#
# own, other: the payer of this payment, and of another · read to admin: an API key with this scope
# VIEWER to ADMIN: somebody signed in who has just confirmed who they are · stale: an ADMIN who has
# not · permission: what `RULES` must say the same about; - for what everybody may, or nobody else
KEYS = ("read", "write", "refunds", "reconc", "admin")
STAFF = (*Role, "stale")
CALLERS = ("own", "other", *KEYS, *STAFF)
ROWS = """
                             own     other   read    write   refunds reconc  admin   VIEWER OPERATOR APPROVER ADMIN stale   permission
Query.viewer                 ok      ok      ok      ok      ok      ok      ok      ok     ok       ok       ok    ok      -
Query.payment                ok      none    ok      ok      none    none    ok      ok     ok       ok       ok    ok      READ_PAYMENT
Query.payments               no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_PAYMENTS
Query.storedMethods          no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_PAYMENTS
Query.gateways               ok      ok      ok      ok      ok      ok      ok      ok     ok       ok       ok    ok      -
Query.gatewayPlugins         no      no      no      no      no      no      ok      no     no       no       ok    ok      READ_GATEWAY_SETTINGS
Query.apiKeys                no      no      no      no      no      no      ok      no     no       no       ok    ok      READ_KEYS
Query.events                 no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_PAYMENTS
Query.auditLog               no      no      no      no      no      no      ok      no     no       ok       ok    ok      READ_AUDIT
Query.staff                  no      no      no      no      no      no      no      no     no       no       ok    ok      READ_STAFF
Query.revenue                no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_ANALYTICS
Query.gatewayPerformance     no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_ANALYTICS
Query.merchant               no      no      ok      ok      no      no      ok      ok     ok       ok       ok    ok      READ_MERCHANT
Mutation.createPayment       no      no      no      ok      no      no      ok      no     ok       ok       ok    ok      WRITE_PAYMENTS
Mutation.attemptPayment      ok      none    none    ok      none    none    ok      none   ok       ok       ok    ok      WRITE_PAYMENTS
Mutation.checkPayment        no      none    no      ok      none    none    ok      no     ok       ok       ok    ok      WRITE_PAYMENTS
Mutation.cancelPayment       no      none    no      ok      none    none    ok      no     ok       ok       ok    ok      WRITE_PAYMENTS
Mutation.confirmPayment      no      none    no      ok      none    none    ok      no     ok       ok       ok    ok      WRITE_PAYMENTS
Mutation.removeStoredMethod  no      no      no      none    no      no      none    no     none     none     none  none    WRITE_PAYMENTS
Mutation.saveGateway         no      no      no      no      no      no      ok      no     no       no       ok    confirm CONFIGURE_GATEWAYS
Mutation.testGateway         no      no      no      no      no      no      ok      no     no       no       ok    confirm CONFIGURE_GATEWAYS
Mutation.saveMerchant        no      no      no      no      no      no      ok      no     no       no       ok    ok      WRITE_MERCHANT
Mutation.createApiKey        no      no      no      no      no      no      ok      no     no       no       ok    confirm MANAGE_KEYS
Mutation.revokeApiKey        no      no      no      no      no      no      none    no     no       no       none  confirm MANAGE_KEYS
Mutation.revealCustomer      no      no      no      no      no      no      no      no     ok       ok       ok    ok      REVEAL_CUSTOMERS
Mutation.confirmIdentity     no      no      no      no      no      no      no      ok     ok       ok       ok    ok      -
Mutation.createStaff         no      no      no      no      no      no      no      no     no       no       ok    confirm MANAGE_STAFF
Mutation.changeStaffRole     no      no      no      no      no      no      no      no     no       no       none  confirm MANAGE_STAFF
Mutation.disableStaff        no      no      no      no      no      no      no      no     no       no       none  confirm MANAGE_STAFF
Mutation.enableStaff         no      no      no      no      no      no      no      no     no       no       none  confirm MANAGE_STAFF
Mutation.newStaffLink        no      no      no      no      no      no      no      no     no       no       none  confirm MANAGE_STAFF
Query.refund                 none    none    none    none    none    none    none    none   none     none     none  none    READ_REFUNDS
Query.refunds                no      no      ok      no      ok      no      ok      ok     ok       ok       ok    ok      READ_REFUNDS
Mutation.requestRefund       no      no      no      no      ok      no      ok      no     ok       ok       ok    ok      REQUEST_REFUNDS
Mutation.cancelRefund        no      no      no      no      none    no      none    no     none     none     none  none    REQUEST_REFUNDS
Mutation.approveRefund       no      no      no      no      no      no      no      no     no       none     none  confirm DECIDE_REFUNDS
Mutation.rejectRefund        no      no      no      no      no      no      no      no     no       none     none  confirm DECIDE_REFUNDS
Mutation.settleRefund        no      no      no      no      no      no      no      no     none     none     none  none    SETTLE_REFUNDS
Query.webhookEndpoints       no      no      no      no      no      no      ok      no     ok       ok       ok    ok      READ_WEBHOOKS
Query.webhookDelivery        no      no      no      no      no      no      none    no     none     none     none  none    READ_WEBHOOKS
Mutation.createWebhookEndpoint no    no      no      no      no      no      ok      no     no       no       ok    confirm MANAGE_WEBHOOKS
Mutation.updateWebhookEndpoint no    no      no      no      no      no      none    no     no       no       none  confirm MANAGE_WEBHOOKS
Mutation.deleteWebhookEndpoint no    no      no      no      no      no      none    no     no       no       none  confirm MANAGE_WEBHOOKS
Mutation.rotateWebhookSecret no      no      no      no      no      no      none    no     no       no       none  confirm MANAGE_WEBHOOKS
Mutation.testWebhookEndpoint no      no      no      no      no      no      none    no     no       no       none  confirm MANAGE_WEBHOOKS
Mutation.redeliver           no      no      no      no      no      no      none    no     no       no       none  confirm MANAGE_WEBHOOKS
Mutation.redeliverFailed     no      no      no      no      no      no      none    no     no       no       none  confirm MANAGE_WEBHOOKS
Query.invoice                none    none    none    none    none    none    none    none   none     none     none  none    READ_INVOICES
Query.invoices               no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_INVOICES
Mutation.createInvoice       no      no      no      ok      no      no      ok      no     ok       ok       ok    ok      WRITE_INVOICES
Mutation.issueInvoice        no      no      no      none    no      no      none    no     none     none     none  none    WRITE_INVOICES
Mutation.voidInvoice         no      no      no      none    no      no      none    no     none     none     none  none    WRITE_INVOICES
Query.notifications          no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_NOTIFICATIONS
Query.fiscalReceipts         no      no      ok      no      no      no      ok      ok     ok       ok       ok    ok      READ_INVOICES
Mutation.retryFiscalReceipt  no      no      no      no      no      no      no      no     none     none     none  none    RETRY_FISCAL_RECEIPTS
Mutation.completeFiscalReceipt no    no      no      no      no      no      no      no     no       none     none  confirm SETTLE_FISCAL_RECEIPTS
Query.books                  no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_BOOKS
Query.ledgerEntries          no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_BOOKS
Query.booksCheck             no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_BOOKS
Query.periods                no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_BOOKS
Mutation.closePeriod         no      no      no      no      no      no      no      no     no       none     none  confirm CLOSE_PERIODS
Mutation.reopenPeriod        no      no      no      no      no      no      no      no     no       none     none  confirm CLOSE_PERIODS
Mutation.confirmPeriod       no      no      no      no      no      no      no      no     no       none     none  confirm CLOSE_PERIODS
Query.statementImport        no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.statementImports       no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.statementLines         no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.statementAccounts      no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.statementProfiles      no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Mutation.importStatement     no      no      no      no      no      none    none    no     none     none     none  none    IMPORT_STATEMENTS
Mutation.previewStatement    no      no      no      no      no      none    none    no     none     none     none  none    IMPORT_STATEMENTS
Mutation.releaseImport       no      no      no      no      no      no      no      no     none     none     none  none    DECIDE_MATCHES
Mutation.saveStatementAccount no     no      no      no      no      no      ok      no     no       no       ok    ok      CONFIGURE_STATEMENTS
Mutation.saveStatementProfile no     no      no      no      no      no      none    no     no       no       none  none    CONFIGURE_STATEMENTS
Query.reconciliations        no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.matches                no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.reconciliation         no      no      no      no      no      none    none    none   none     none     none  none    READ_STATEMENTS
Query.match                  no      no      no      no      no      none    none    none   none     none     none  none    READ_STATEMENTS
Mutation.reconcile           no      no      no      no      no      none    none    no     none     none     none  none    RECONCILE
Mutation.approveReconciliation no      no      no      no      no      no      no      no     no       none     none  confirm APPROVE_RECONCILIATIONS
Mutation.rejectReconciliation no      no      no      no      no      no      no      no     no       none     none  confirm APPROVE_RECONCILIATIONS
Mutation.confirmMatch        no      no      no      no      no      no      no      no     none     none     none  none    DECIDE_MATCHES
Mutation.rejectMatch         no      no      no      no      no      no      no      no     none     none     none  none    DECIDE_MATCHES
Mutation.matchLines          no      no      no      no      no      no      no      no     none     none     none  none    DECIDE_MATCHES
Mutation.unmatch             no      no      no      no      no      no      no      no     none     none     none  none    DECIDE_MATCHES
Query.discrepancy            no      no      no      no      no      none    none    none   none     none     none  none    READ_STATEMENTS
Query.discrepancies          no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.suspense               no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Query.reconciliationMeasures no      no      no      no      no      ok      ok      ok     ok       ok       ok    ok      READ_STATEMENTS
Mutation.resolveDiscrepancy  no      no      no      no      no      no      no      no     none     none     none  none    RESOLVE_DISCREPANCIES
Mutation.assignDiscrepancy   no      no      no      no      no      no      no      no     none     none     none  none    RESOLVE_DISCREPANCIES
Mutation.attachLine          no      no      no      no      no      no      no      no     none     none     none  none    DECIDE_MATCHES
"""  # noqa: E501
TABLE = {
    row.split()[0]: dict(zip(CALLERS, row.split()[1:-1], strict=True))
    for row in ROWS.strip().splitlines()[1:]
}
PERMISSIONS = {row.split()[0]: row.split()[-1] for row in ROWS.strip().splitlines()[1:]}
# Watched over a socket; test_websocket and test_sse have their rows.
SUBSCRIPTIONS = {"paymentUpdated", "events", "gatewayHealth"}

MONEY = 'amount: { amount: "5000", currency: "RWF" }'
DOCUMENTS = {
    "Query.viewer": "{ viewer { kind } }",
    "Query.payment": '{ payment(id: "%(id)s") { id } }',
    "Query.payments": "{ payments { edges { cursor } } }",
    "Query.storedMethods": '{ storedMethods(customer: "C-1") { id } }',
    "Query.gateways": "{ gateways { code } }",
    "Query.gatewayPlugins": "{ gatewayPlugins { name } }",
    "Query.apiKeys": "{ apiKeys { id } }",
    "Query.notifications": "{ notifications(statuses: [FAILED]) { id } }",
    "Query.fiscalReceipts": "{ fiscalReceipts(statuses: [REJECTED]) { id } }",
    "Mutation.retryFiscalReceipt": 'mutation { retryFiscalReceipt(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.completeFiscalReceipt": 'mutation { completeFiscalReceipt(input: { id: "%(id)s" '
    'receiptNumber: 1 totalNumber: 1 sdcId: "SDC010000005" mrcNo: "WIS01006230" '
    'internalData: "ABCDEFGHIJKLMNOPQRSTUVWXYZ" signature: "ABCDEFGHIJKLMNOP" '
    'signedAt: "2026-11-23T10:15:31+02:00" evidence: "seen" }) { userErrors { code } } }',
    "Query.events": "{ events { cursor } }",
    "Query.auditLog": "{ auditLog { edges { cursor } } }",
    "Query.revenue": """{ revenue(from: "2026-01-01", to: "2026-12-31", currency: "RWF",
        groupBy: [GATEWAY, MONTH]) { gateway periodStart count amount { amount } } }""",
    "Query.gatewayPerformance": """{ gatewayPerformance(from: "2026-01-01", to: "2026-12-31") {
        gateway attempts successRate } }""",
    "Query.books": "{ books { account balance { amount } openItems difference { amount } } }",
    "Query.ledgerEntries": "{ ledgerEntries { edges { cursor node { debit credit } } } }",
    "Query.booksCheck": "{ booksCheck(now: true) { sound entries breaks { rule } } }",
    "Query.periods": "{ periods { account kind status } }",
    "Mutation.closePeriod": 'mutation { closePeriod(account: "nobodys", until: "2026-01-31") '
    "{ period { id } userErrors { code } } }",
    "Mutation.reopenPeriod": 'mutation { reopenPeriod(account: "nobodys") '
    "{ period { id } userErrors { code } } }",
    "Mutation.confirmPeriod": 'mutation { confirmPeriod(id: "%(id)s") '
    "{ period { id } userErrors { code } } }",
    "Query.merchant": "{ merchant { name } }",
    "Mutation.saveMerchant": 'mutation { saveMerchant(input: { name: "Shop" }) '
    "{ merchant { name } userErrors { code } } }",
    "Mutation.createPayment": 'mutation { createPayment(input: { idempotencyKey: "%(key)s" '
    + MONEY
    + " }) { userErrors { code } } }",
    "Mutation.attemptPayment": 'mutation { attemptPayment(input: { idempotencyKey: "%(key)s" '
    'paymentId: "%(id)s" method: { gateway: "fake" phone: "0780000201" } }) '
    "{ userErrors { code } } }",
    "Mutation.checkPayment": 'mutation { checkPayment(paymentId: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.cancelPayment": 'mutation { cancelPayment(input: { paymentId: "%(id)s" '
    'reason: "test" }) { userErrors { code } } }',
    "Mutation.confirmPayment": 'mutation { confirmPayment(input: { idempotencyKey: "%(key)s" '
    'paymentId: "%(id)s" evidence: "seen" ' + MONEY + " }) { userErrors { code } } }",
    "Mutation.removeStoredMethod": 'mutation { removeStoredMethod(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.saveGateway": 'mutation { saveGateway(input: { code: "second" plugin: "fake" '
    'name: "Second" environment: TEST config: {} }) { userErrors { code } } }',
    "Mutation.testGateway": 'mutation { testGateway(code: "fake") { userErrors { code } } }',
    "Mutation.createApiKey": 'mutation { createApiKey(name: "till", scopes: [ADMIN]) '
    "{ userErrors { code } } }",
    "Mutation.revealCustomer": 'mutation { revealCustomer(paymentId: "%(id)s" reason: "test") '
    "{ userErrors { code } } }",
    "Mutation.revokeApiKey": 'mutation { revokeApiKey(id: "%(id)s") { userErrors { code } } }',
    "Query.staff": "{ staff { id } }",
    "Mutation.confirmIdentity": 'mutation { confirmIdentity(password: "wrong") '
    "{ userErrors { code } } }",
    "Mutation.createStaff": 'mutation { createStaff(email: "%(key)s@shop.test" role: VIEWER) '
    "{ userErrors { code message } } }",
    "Mutation.changeStaffRole": 'mutation { changeStaffRole(id: "%(id)s" role: VIEWER) '
    "{ userErrors { code message } } }",
    "Mutation.disableStaff": 'mutation { disableStaff(id: "%(id)s") { userErrors { code } } }',
    "Mutation.enableStaff": 'mutation { enableStaff(id: "%(id)s") { userErrors { code } } }',
    "Mutation.newStaffLink": 'mutation { newStaffLink(id: "%(id)s") { userErrors { code } } }',
    "Query.refund": '{ refund(id: "%(id)s") { id } }',
    "Query.refunds": "{ refunds { edges { cursor } } }",
    "Mutation.requestRefund": 'mutation { requestRefund(input: { idempotencyKey: "%(key)s" '
    'paymentId: "%(id)s" reason: "test" }) { userErrors { code } } }',
    "Mutation.cancelRefund": 'mutation { cancelRefund(refundId: "%(id)s" reason: "test") '
    "{ userErrors { code } } }",
    "Mutation.approveRefund": 'mutation { approveRefund(input: { refundId: "%(id)s" '
    'digest: "x" }) { userErrors { code } } }',
    "Mutation.rejectRefund": 'mutation { rejectRefund(input: { refundId: "%(id)s" '
    'digest: "x" }) { userErrors { code } } }',
    "Mutation.settleRefund": 'mutation { settleRefund(input: { refundId: "%(id)s" '
    'succeeded: true evidence: "seen" }) { userErrors { code } } }',
    "Query.webhookEndpoints": "{ webhookEndpoints { id } }",
    "Query.webhookDelivery": '{ webhookDelivery(id: "%(id)s") { id } }',
    "Mutation.createWebhookEndpoint": 'mutation { createWebhookEndpoint(url: "https://10.0.0.1/" '
    'events: ["*"]) { userErrors { code } } }',
    "Mutation.updateWebhookEndpoint": 'mutation { updateWebhookEndpoint(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.deleteWebhookEndpoint": 'mutation { deleteWebhookEndpoint(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.rotateWebhookSecret": 'mutation { rotateWebhookSecret(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.testWebhookEndpoint": 'mutation { testWebhookEndpoint(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.redeliver": 'mutation { redeliver(deliveryId: "%(id)s") { userErrors { code } } }',
    "Mutation.redeliverFailed": 'mutation { redeliverFailed(endpointId: "%(id)s" '
    'since: "2026-01-01T00:00:00Z") { userErrors { code } } }',
    "Query.statementImport": '{ statementImport(id: "%(id)s") { id } }',
    "Query.statementImports": "{ statementImports { id } }",
    "Query.statementLines": "{ statementLines { edges { cursor } } }",
    "Query.statementAccounts": "{ statementAccounts { code } }",
    "Query.statementProfiles": "{ statementProfiles { code } }",
    "Mutation.importStatement": 'mutation { importStatement(input: { uploadId: "%(id)s" '
    'account: "fake" }) { userErrors { code } } }',
    "Mutation.previewStatement": 'mutation { previewStatement(uploadId: "%(id)s" '
    'account: "fake") { userErrors { code } } }',
    "Mutation.releaseImport": 'mutation { releaseImport(id: "%(id)s" note: "seen") '
    "{ userErrors { code } } }",
    "Mutation.saveStatementAccount": 'mutation { saveStatementAccount(input: { code: "%(key)s" '
    'name: "Bank" kind: BANK }) { userErrors { code } } }',
    "Mutation.saveStatementProfile": 'mutation { saveStatementProfile(account: "nobodys" '
    'code: "mine" name: "Mine" mapping: {}) { userErrors { code } } }',
    "Query.reconciliations": "{ reconciliations { edges { cursor } } }",
    "Query.matches": "{ matches { edges { cursor } } }",
    "Query.reconciliation": '{ reconciliation(id: "%(id)s") { id } }',
    "Query.match": '{ match(id: "%(id)s") { id } }',
    "Mutation.reconcile": 'mutation { reconcile(input: { account: "nobodys" from: "2026-11-01" '
    'to: "2026-11-02" }) { userErrors { code } } }',
    "Mutation.approveReconciliation": 'mutation { approveReconciliation(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.rejectReconciliation": 'mutation { rejectReconciliation(id: "%(id)s" note: "no") '
    "{ userErrors { code } } }",
    "Mutation.confirmMatch": 'mutation { confirmMatch(id: "%(id)s") { userErrors { code } } }',
    "Mutation.rejectMatch": 'mutation { rejectMatch(id: "%(id)s") { userErrors { code } } }',
    "Mutation.matchLines": 'mutation { matchLines(input: { lineIds: ["%(id)s"] paymentIds: '
    '["%(id)s"] note: "seen" }) { userErrors { code } } }',
    "Mutation.unmatch": 'mutation { unmatch(id: "%(id)s" note: "no") { userErrors { code } } }',
    "Query.discrepancy": '{ discrepancy(id: "%(id)s") { id } }',
    "Query.discrepancies": "{ discrepancies { edges { cursor } } }",
    "Query.suspense": '{ suspense(account: "fake") { count } }',
    "Query.reconciliationMeasures": '{ reconciliationMeasures(account: "fake" '
    'from: "2026-11-01" to: "2026-11-30") { lines straightThroughRate rules { rule } } }',
    "Mutation.resolveDiscrepancy": "mutation { resolveDiscrepancy(input: { discrepancyId: "
    '"%(id)s" status: RESOLVED note: "seen" }) { userErrors { code } } }',
    "Mutation.assignDiscrepancy": 'mutation { assignDiscrepancy(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.attachLine": 'mutation { attachLine(lineId: "%(id)s" paymentId: "%(id)s" '
    'note: "seen") { userErrors { code } } }',
    "Query.invoice": '{ invoice(id: "%(id)s") { id } }',
    "Query.invoices": "{ invoices { edges { cursor } } }",
    "Mutation.createInvoice": 'mutation { createInvoice(input: { idempotencyKey: "%(key)s" '
    'paymentId: "%(id)s" }) { userErrors { code } } }',
    "Mutation.issueInvoice": 'mutation { issueInvoice(id: "%(id)s") { userErrors { code } } }',
    "Mutation.voidInvoice": 'mutation { voidInvoice(id: "%(id)s" reason: "test") '
    "{ userErrors { code } } }",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(shop: Shop) -> dict[str, Person]:
    """Somebody with each role, and an administrator who confirmed who they are long ago."""
    found: dict[str, Person] = {role: await shop.person(role) for role in Role}
    return {**found, "stale": await shop.person(Role.ADMIN)}


@dataclass(frozen=True, slots=True)
class Callers:
    payment_id: str
    tokens: dict[str, str]


async def _callers(shop: Shop, people: Mapping[str, Person] | None = None) -> Callers:
    own, other = await shop.create(), await shop.create()
    scopes = dict(zip(KEYS, Scope, strict=True))
    for name, person in (people or {}).items():
        await shop.turn(person, fresh=name != "stale")
    return Callers(
        own["payment"]["id"],
        {
            "own": own["clientToken"],
            "other": other["clientToken"],
            **{name: shop.keys[scope] for name, scope in scopes.items()},
            **(people or {}),
        },
    )


def _told(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Every error of an answer, wherever it stands."""
    told = [{**error, "code": error["extensions"]["code"]} for error in answer.get("errors", ())]
    for value in (answer.get("data") or {}).values():
        if isinstance(value, dict):
            told.extend(value.get("userErrors", ()))
    return told


def _codes(answer: dict[str, Any]) -> set[str]:
    return {error["code"] for error in _told(answer)}


# Questions for one thing, which is null when it is not there or not for the caller.
BY_ID = (
    "payment",
    "refund",
    "invoice",
    "webhookDelivery",
    "discrepancy",
    "match",
    "reconciliation",
)


def _outcome(answer: dict[str, Any]) -> str:
    codes = _codes(answer)
    assert "INTERNAL" not in codes, answer
    assert "UNAUTHENTICATED" not in codes, answer
    if "FORBIDDEN" in codes:
        asked = any(error.get("message") == ConfirmationNeeded().message for error in _told(answer))
        return "confirm" if asked else "no"
    data = answer.get("data") or {}
    hidden = any(data.get(name, 0) is None for name in BY_ID)
    return "none" if "NOT_FOUND" in codes or hidden else "ok"


async def test_every_root_field_has_a_row() -> None:
    queries, mutations = executable.query_type, executable.mutation_type
    subscriptions = executable.subscription_type
    assert queries is not None
    assert mutations is not None
    assert subscriptions is not None

    fields = {f"Query.{name}" for name in queries.fields}
    fields |= {f"Mutation.{name}" for name in mutations.fields}

    assert fields == TABLE.keys() == DOCUMENTS.keys()
    assert subscriptions.fields.keys() == SUBSCRIPTIONS


@pytest.mark.parametrize("name", TABLE)
async def test_s20_everybody_gets_what_the_table_says(
    shop: Shop, people: dict[str, Person], name: str
) -> None:
    outcomes = {}
    for number, caller in enumerate(CALLERS):
        callers = await _callers(shop, people)
        key = f"{name.rpartition('.')[2].lower()}-{number}"
        # Both kinds of errors, with their words: those tell a person to confirm who they are.
        document = DOCUMENTS[name].replace("userErrors { code }", "userErrors { code message }")
        document %= {"id": callers.payment_id, "key": key}
        outcomes[caller] = _outcome(await shop.ask(document, token=callers.tokens[caller]))

    assert outcomes == TABLE[name]


# What one may ask for who has this permission, but is refused whoever asks for another reason, or
# the other way round.
MAY, MAY_NOT = {"ok", "none"}, {"no", "none"}


@pytest.mark.parametrize("name", [name for name in TABLE if PERMISSIONS[name] != "-"])
async def test_the_table_says_what_the_rules_say(name: str) -> None:
    rule, cells = RULES[Permission(PERMISSIONS[name])], TABLE[name]

    for role in Role:
        assert cells[role] in (MAY if role.rank >= rule.role.rank else MAY_NOT), role
    assert (cells["stale"] == "confirm") == rule.fresh
    for key, scope in zip(KEYS, Scope, strict=True):
        assert cells[key] in (MAY if scope in rule.scopes else MAY_NOT), key


async def test_every_permission_is_asked_for_somewhere() -> None:
    root = Path(__file__).parents[2]
    sources = [
        path.read_text()
        for member in ("core", "schema", "server")
        for path in root.glob(f"{member}/src/**/*.py")
        if path.name != "permissions.py"
    ]

    unused = [
        permission
        for permission in Permission
        if not any(f"Permission.{permission}" in source for source in sources)
    ]

    assert RULES.keys() == set(Permission)
    assert unused == []


@pytest.mark.parametrize("name", TABLE)
async def test_s20_nobody_gets_anything_without_a_token(shop: Shop, name: str) -> None:
    document = DOCUMENTS[name] % {"id": "1", "key": "k"}

    response = await shop.post(document, token="")

    assert response.status_code == 401
    assert "data" not in response.json()


# Fields of objects that not everybody who sees the object gets. full, masked: what is there.
FIELD_ROWS = """
                      own    read   write  admin  VIEWER OPERATOR APPROVER ADMIN  stale
Gateway.config        none   none   none   full   none   none     none     full   full
Payment.transactions  none   full   full   full   full   full     full     full   full
Payment.why           none   full   none   full   full   full     full     full   full
Payment.timeline      none   full   none   full   full   full     full     full   full
"""
FIELDS = {
    "Gateway.config": "{ gateways { config } }",
    "Payment.transactions": '{ payment(id: "%(id)s") { transactions { edges { cursor } } } }',
    "Payment.why": '{ payment(id: "%(id)s") { why { headline } } }',
    "Payment.timeline": '{ payment(id: "%(id)s") { timeline { what } } }',
}


@pytest.mark.parametrize("row", FIELD_ROWS.strip().splitlines()[1:], ids=lambda row: row.split()[0])
async def test_s20_fields_with_rules_of_their_own_keep_them(
    shop: Shop, people: dict[str, Person], row: str
) -> None:
    name, *expected = row.split()
    callers = await _callers(shop, people)
    names = FIELD_ROWS.split()[: len(expected)]

    shown = []
    for caller in names:
        document = FIELDS[name] % {"id": callers.payment_id}
        answer = await shop.ask(document, token=callers.tokens[caller])
        shown.append("none" if _is_empty(answer["data"]) else "full")

    assert dict(zip(names, shown, strict=True)) == dict(zip(names, expected, strict=True))


def _is_empty(value: Any) -> bool:
    """Whether nothing but `null` stands at the end of an answer."""
    if isinstance(value, dict):
        return all(_is_empty(item) for item in value.values())
    if isinstance(value, list):
        return bool(value) and all(_is_empty(item) for item in value)
    return value is None


async def test_s21_unknown_and_forbidden_look_alike(shop: Shop) -> None:
    callers = await _callers(shop)
    query = "query($id: ID!) { payment(id: $id) { id } }"
    check = "mutation($id: ID!) { checkPayment(paymentId: $id) { userErrors { code message } } }"
    unknown = "0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11"

    for document in (query, check):
        answers = [
            await shop.ask(document, {"id": id_}, token=callers.tokens["other"])
            for id_ in (callers.payment_id, unknown)
        ]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("caller", ["own", "read", "write"])
async def test_a_gateways_settings_are_for_staff(shop: Shop, caller: str) -> None:
    tokens = (await _callers(shop)).tokens
    query = "{ gateways { code config webhookUrl } }"

    theirs = await shop.get(query, token=tokens[caller])
    staff = await shop.get(query)

    assert theirs["gateways"][0] == {"code": "fake", "config": None, "webhookUrl": None}
    assert staff["gateways"][0]["config"] is not None
    assert "fake-api-key" not in str(staff)


async def test_how_a_gateway_was_talked_to_is_not_for_the_payer(shop: Shop) -> None:
    callers = await _callers(shop)
    query = "query($id: ID!) { payment(id: $id) { id transactions { edges { cursor } } } }"

    answer = await shop.ask(query, {"id": callers.payment_id}, token=callers.tokens["own"])

    assert answer["data"] == {"payment": None}
    assert _codes(answer) == {"NOT_FOUND"}
