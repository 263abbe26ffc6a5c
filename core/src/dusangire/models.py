"""The tables. What must never break is in the database too: see migrations/ for the constraints."""

from tortoise import fields
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.models import Model

from dusangire.lifecycle import AttemptStatus, PaymentStatus

# Tortoise looks for comments in the source of each model, and for that parses the whole file once
# for each: two seconds of every command. A module without a file is let alone.
_file, __file__ = __file__, ""


class GatewayAccount(Model):
    """A configured account at a provider, served by a plugin. `secrets`: field → sealed value."""

    id = fields.UUIDField(primary_key=True)
    code = fields.TextField()
    name = fields.TextField()
    plugin = fields.TextField()
    environment = fields.TextField()
    enabled = fields.BooleanField(default=True)
    config = fields.JSONField[dict[str, object]](default=dict)
    secrets = fields.JSONField[dict[str, str]](default=dict)
    version = fields.IntField(default=1)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "gateway_account"


class GatewayHealth(Model):
    """How a gateway does, shared by all processes.

    traffic, success_rate, p95_ms, last_callback_at: as measured; told: what the last event said.
    term: odd while the circuit breaker is open; probes: looks without an answer since.
    """

    gateway: fields.OneToOneRelation[GatewayAccount] = fields.OneToOneField(
        "models.GatewayAccount", primary_key=True, on_delete=fields.RESTRICT
    )
    traffic = fields.TextField(default="NO_TRAFFIC")
    success_rate = fields.FloatField(null=True)
    p95_ms = fields.BigIntField(null=True)
    last_error = fields.TextField(null=True)
    last_error_at = fields.DatetimeField(null=True)
    last_callback_at = fields.DatetimeField(null=True)
    measured_at = fields.DatetimeField(null=True)
    told = fields.JSONField[dict[str, object]](default=dict)
    term = fields.IntField(default=0)
    changed_at = fields.DatetimeField(null=True)
    probes = fields.IntField(default=0)
    probe_at = fields.DatetimeField(null=True)

    class Meta:
        table = "gateway_health"


class UnmappedCode(Model):
    """A code that a gateway used and its plugin does not know."""

    id = fields.UUIDField(primary_key=True)
    gateway: fields.ForeignKeyRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    code = fields.TextField()
    count = fields.BigIntField(default=1)
    first_seen_at = fields.DatetimeField(auto_now_add=True)
    last_seen_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "unmapped_code"


class Customer(Model):
    """Whom the merchant sells to, by the merchant's own reference."""

    id = fields.UUIDField(primary_key=True)
    reference = fields.TextField()
    name = fields.TextField(null=True)
    email = fields.TextField(null=True)
    phone = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "customer"


class StoredMethod(Model):
    """How a payer who comes back pays, with the words they agreed to. `token`: sealed."""

    id = fields.UUIDField(primary_key=True)
    customer: fields.ForeignKeyRelation[Customer] = fields.ForeignKeyField(
        "models.Customer", on_delete=fields.RESTRICT
    )
    gateway: fields.ForeignKeyRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    label = fields.TextField()
    phone = fields.TextField(null=True)
    token = fields.TextField(null=True)
    fingerprint = fields.TextField(null=True)
    consent = fields.TextField()
    consented_at = fields.DatetimeField()
    consented_by = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)
    last_used_at = fields.DatetimeField(null=True)
    expires_at = fields.DatetimeField(null=True)
    removed_at = fields.DatetimeField(null=True)

    class Meta:
        table = "stored_method"


class Payment(Model):
    """What the merchant wants. Amounts are minor units of `currency`."""

    id = fields.UUIDField(primary_key=True)
    reference = fields.TextField()
    version = fields.IntField(default=1)
    status = fields.TextField(default=PaymentStatus.CREATED)
    amount = fields.BigIntField()
    currency = fields.TextField()
    captured = fields.BigIntField(default=0)
    refunded = fields.BigIntField(default=0)
    reserved = fields.BigIntField(default=0)
    order_reference = fields.TextField(null=True)
    description = fields.TextField(null=True)
    customer: fields.ForeignKeyNullableRelation[Customer] = fields.ForeignKeyField(
        "models.Customer", null=True, on_delete=fields.RESTRICT
    )
    gateway: fields.ForeignKeyNullableRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", null=True, on_delete=fields.RESTRICT
    )
    next_action = fields.JSONField[dict[str, object] | None](null=True)
    failure = fields.JSONField[dict[str, object] | None](null=True)
    failure_code = fields.TextField(null=True)
    needs_attention = fields.JSONField[list[str]](default=list)
    reconciliation_status = fields.TextField(default="NOT_RECONCILED")
    metadata = fields.JSONField[object](null=True)
    return_url = fields.TextField(null=True)
    search = fields.TextField(default="")
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)
    expires_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)

    class Meta:
        table = "payment"


class PaymentAttempt(Model):
    """One try on one gateway, and its own schedule: `next_check_at` says when to ask again.

    lease_until: a process works on it; version: fences off one that woke up too late.
    """

    id = fields.UUIDField(primary_key=True)
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", on_delete=fields.RESTRICT
    )
    number = fields.SmallIntField()
    gateway: fields.ForeignKeyRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    environment = fields.TextField()
    status = fields.TextField(default=AttemptStatus.SUBMITTING)
    version = fields.IntField(default=1)
    reference = fields.TextField()
    gateway_transaction_id = fields.TextField(null=True)
    phone = fields.TextField(null=True)
    email = fields.TextField(null=True)
    details = fields.JSONField[dict[str, object]](default=dict)
    plugin_data = fields.JSONField[dict[str, object]](default=dict)
    failure = fields.JSONField[dict[str, object] | None](null=True)
    fee = fields.BigIntField(null=True)
    return_url = fields.TextField(null=True)
    stored_method: fields.ForeignKeyNullableRelation["StoredMethod"] = fields.ForeignKeyField(
        "models.StoredMethod", null=True, on_delete=fields.RESTRICT
    )
    store_consent = fields.TextField(null=True)
    store_consent_by = fields.TextField(null=True)
    correlation_id = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    completed_at = fields.DatetimeField(null=True)
    next_check_at = fields.DatetimeField(null=True)
    lease_until = fields.DatetimeField(null=True)
    asked_at = fields.DatetimeField(null=True)
    checks = fields.IntField(default=0)
    late = fields.BooleanField(default=False)
    resend = fields.BooleanField(default=False)
    not_found = fields.IntField(default=0)
    not_found_since = fields.DatetimeField(null=True)

    class Meta:
        table = "payment_attempt"


class PaymentTransaction(Model):
    """One exchange with a gateway about a payment, masked. Append-only."""

    id = fields.BigIntField(primary_key=True)
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", on_delete=fields.RESTRICT
    )
    gateway: fields.ForeignKeyRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    outcome = fields.TextField()
    http_status = fields.SmallIntField(null=True)
    error_code = fields.TextField(null=True)
    error_message = fields.TextField(null=True)
    request = fields.JSONField[object](null=True)
    response = fields.JSONField[object](null=True)
    duration_ms = fields.IntField(null=True)
    notes = fields.JSONField[dict[str, object] | None](null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "payment_transaction"


class IdempotencyKey(Model):
    """Which payment or refund a key stands for, and a digest of the input it came with."""

    scope = fields.TextField()
    operation = fields.TextField()
    key = fields.TextField()
    fingerprint = fields.TextField()
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", on_delete=fields.RESTRICT
    )
    refund: fields.ForeignKeyNullableRelation["Refund"] = fields.ForeignKeyField(
        "models.Refund", null=True, on_delete=fields.RESTRICT
    )
    created_at = fields.DatetimeField(auto_now_add=True)
    id = fields.UUIDField(primary_key=True)

    invoice: fields.ForeignKeyNullableRelation["Invoice"] = fields.ForeignKeyField(
        "models.Invoice", null=True, on_delete=fields.RESTRICT
    )

    class Meta:
        table = "idempotency_key"


class GatewayWebhook(Model):
    """A message of a gateway, as it came. `status`: RECEIVED, DONE, ORPHAN or DEAD."""

    id = fields.UUIDField(primary_key=True)
    gateway: fields.ForeignKeyRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    dedupe_key = fields.TextField()
    method = fields.TextField()
    headers = fields.JSONField[dict[str, str]]()
    body = fields.BinaryField()
    trust = fields.TextField(null=True)
    reference = fields.TextField(null=True)
    outcome = fields.JSONField[dict[str, object] | None](null=True)
    status = fields.TextField(default="RECEIVED")
    repeated = fields.IntField(default=0)
    tries = fields.IntField(default=0)
    next_try_at = fields.DatetimeField(null=True)
    error = fields.TextField(null=True)
    received_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "gateway_webhook"


class Event(Model):
    """One change, written with it. `position` is stamped after the commit, in commit order."""

    id = fields.BigIntField(primary_key=True)
    position = fields.BigIntField(null=True)
    type = fields.TextField()
    payment: fields.ForeignKeyNullableRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", null=True, on_delete=fields.RESTRICT
    )
    data = fields.JSONField[dict[str, object]]()
    occurred_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "event"


class AuditEntry(Model):
    """Who did what. Append-only: the database refuses anything else.

    sequence, hash: given once, after the commit, by `sealing`.
    """

    id = fields.BigIntField(primary_key=True)
    at = fields.DatetimeField(auto_now_add=True)
    actor_kind = fields.TextField()
    actor_name = fields.TextField()
    action = fields.TextField()
    subject = fields.TextField(source_field="object")
    detail = fields.JSONField[dict[str, object]](default=dict)
    correlation_id = fields.TextField(null=True)
    sequence = fields.BigIntField(null=True)
    hash = fields.TextField(null=True)

    class Meta:
        table = "audit_entry"


class ApiKey(Model):
    """A server's way in. Only a digest of the secret is kept."""

    id = fields.UUIDField(primary_key=True)
    public_id = fields.TextField()
    name = fields.TextField()
    digest = fields.TextField()
    scopes = fields.JSONField[list[str]]()
    created_at = fields.DatetimeField(auto_now_add=True)
    last_used_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)
    created_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, on_delete=fields.RESTRICT
    )

    class Meta:
        table = "api_key"


class Follower(Model):
    """How far one that acts on events has come in the log.

    stalls: how often the event at `stalled_at` sent the whole batch back.
    """

    name = fields.CharField(max_length=100, primary_key=True)
    position = fields.BigIntField(default=0)
    stalled_at = fields.BigIntField(null=True)
    stalls = fields.IntField(default=0)

    class Meta:
        table = "follower"


class FollowerDebt(Model):
    """An event that a follower could not act on yet. The follower itself went on."""

    id = fields.UUIDField(primary_key=True)
    follower = fields.TextField()
    position = fields.BigIntField()
    error = fields.TextField()
    tries = fields.IntField(default=1)
    next_try_at = fields.DatetimeField()

    class Meta:
        table = "follower_debt"


class Staff(Model):
    """Somebody who works with the system.

    password: argon2id; none until they chose one. totp: the sealed secret of their code generator.
    totp_step: the last step of it whose code was used.
    """

    id = fields.UUIDField(primary_key=True)
    email = fields.TextField()
    name = fields.TextField()
    role = fields.TextField()
    password = fields.TextField(null=True)
    totp = fields.TextField(null=True)
    totp_step = fields.BigIntField(default=0)
    created_at = fields.DatetimeField(auto_now_add=True)
    disabled_at = fields.DatetimeField(null=True)

    class Meta:
        table = "staff"


class StaffSession(Model):
    """A browser in which somebody signed in. Only a digest of its cookie is kept.

    totp_draft: the sealed secret of a code generator that is being set up.
    """

    id = fields.UUIDField(primary_key=True)
    staff: fields.ForeignKeyRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", related_name="sessions", on_delete=fields.RESTRICT
    )
    digest = fields.TextField()
    totp_draft = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    last_seen_at = fields.DatetimeField(auto_now_add=True)
    confirmed_at = fields.DatetimeField(null=True)
    ended_at = fields.DatetimeField(null=True)

    class Meta:
        table = "staff_session"


class StaffLink(Model):
    """A link that signs somebody in once."""

    id = fields.UUIDField(primary_key=True)
    staff: fields.ForeignKeyRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", related_name="links", on_delete=fields.RESTRICT
    )
    digest = fields.TextField()
    reset_password = fields.BooleanField()
    reset_totp = fields.BooleanField()
    created_at = fields.DatetimeField(auto_now_add=True)
    expires_at = fields.DatetimeField()
    used_at = fields.DatetimeField(null=True)

    class Meta:
        table = "staff_link"


class LoginThrottle(Model):
    """How often somebody tried to sign in, by a digest of who or from where."""

    key = fields.CharField(max_length=64, primary_key=True)
    tries = fields.IntField(default=1)
    last_at = fields.DatetimeField(auto_now_add=True)
    blocked_until = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "login_throttle"


class Refund(Model):
    """Money to give back, from the request to its end. Amounts are minor units of `currency`.

    by_hand: a person gives it back, since the gateway cannot. requested_by: the person behind it.
    version: grows with what can be seen of it; turn: with each process that takes it in hand.
    sent_at: written before it is sent; `sends` counts that.
    """

    id = fields.UUIDField(primary_key=True)
    reference = fields.TextField()
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", on_delete=fields.RESTRICT
    )
    attempt: fields.ForeignKeyRelation[PaymentAttempt] = fields.ForeignKeyField(
        "models.PaymentAttempt", on_delete=fields.RESTRICT
    )
    gateway: fields.ForeignKeyRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    version = fields.IntField(default=1)
    status = fields.TextField(default="REQUESTED")
    amount = fields.BigIntField()
    currency = fields.TextField()
    reason = fields.TextField()
    digest = fields.TextField()
    approvals_needed = fields.SmallIntField(default=1)
    by_hand = fields.BooleanField()
    requested_by_kind = fields.TextField()
    requested_by_name = fields.TextField()
    requested_by: fields.ForeignKeyNullableRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name="refunds_requested", on_delete=fields.RESTRICT
    )
    decided_by_kind = fields.TextField(null=True)
    decided_by_name = fields.TextField(null=True)
    decided_by: fields.ForeignKeyNullableRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name="refunds_decided", on_delete=fields.RESTRICT
    )
    decided_at = fields.DatetimeField(null=True)
    gateway_reference = fields.TextField()
    gateway_transaction_id = fields.TextField(null=True)
    plugin_data = fields.JSONField[dict[str, object]](default=dict)
    failure = fields.JSONField[dict[str, object] | None](null=True)
    evidence = fields.TextField(null=True)
    settled_by_name = fields.TextField(null=True)
    settled_by: fields.ForeignKeyNullableRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name="refunds_settled", on_delete=fields.RESTRICT
    )
    correlation_id = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)
    completed_at = fields.DatetimeField(null=True)
    next_check_at = fields.DatetimeField(null=True)
    lease_until = fields.DatetimeField(null=True)
    turn = fields.IntField(default=0)
    asked_at = fields.DatetimeField(null=True)
    sent_at = fields.DatetimeField(null=True)
    sends = fields.IntField(default=0)
    checks = fields.IntField(default=0)
    not_found = fields.IntField(default=0)
    not_found_since = fields.DatetimeField(null=True)

    class Meta:
        table = "refund"


class RefundApproval(Model):
    """One person's yes to a refund as they saw it. voided_at: it does not count any more."""

    id = fields.UUIDField(primary_key=True)
    refund: fields.ForeignKeyRelation[Refund] = fields.ForeignKeyField(
        "models.Refund", on_delete=fields.RESTRICT
    )
    staff: fields.ForeignKeyRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", on_delete=fields.RESTRICT
    )
    digest = fields.TextField()
    note = fields.TextField(null=True)
    approved_at = fields.DatetimeField(auto_now_add=True)
    voided_at = fields.DatetimeField(null=True)

    class Meta:
        table = "refund_approval"


class Merchant(Model):
    """Whose name stands on invoices: one row."""

    id = fields.SmallIntField(primary_key=True, default=1)
    name = fields.TextField()
    tin = fields.TextField(null=True)
    address = fields.TextField(null=True)
    phone = fields.TextField(null=True)
    email = fields.TextField(null=True)
    vat_registered = fields.BooleanField(default=False)
    locale = fields.TextField(default="en")
    footer = fields.TextField(null=True)
    logo = fields.BinaryField(null=True)
    logo_type = fields.TextField(null=True)
    version = fields.IntField(default=1)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "merchant"


class DocumentCounter(Model):
    """The last number given in a series and year, such as INV-2026, and when."""

    name = fields.CharField(max_length=100, primary_key=True)
    reached = fields.BigIntField(default=0)
    last_at = fields.DatetimeField(null=True)

    class Meta:
        table = "document_counter"


class Invoice(Model):
    """An invoice or a credit note. seller, buyer: copies of what was true when it was issued."""

    id = fields.UUIDField(primary_key=True)
    kind = fields.TextField()
    status = fields.TextField(default="DRAFT")
    version = fields.IntField(default=1)
    series = fields.TextField()
    year = fields.SmallIntField(null=True)
    sequence = fields.BigIntField(null=True)
    number = fields.TextField(null=True)
    currency = fields.TextField()
    net = fields.BigIntField()
    tax = fields.BigIntField()
    total = fields.BigIntField()
    customer: fields.ForeignKeyNullableRelation[Customer] = fields.ForeignKeyField(
        "models.Customer", null=True, on_delete=fields.RESTRICT
    )
    payment: fields.ForeignKeyNullableRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", null=True, on_delete=fields.RESTRICT
    )
    refund: fields.ForeignKeyNullableRelation[Refund] = fields.ForeignKeyField(
        "models.Refund", null=True, on_delete=fields.RESTRICT
    )
    original: fields.ForeignKeyNullableRelation["Invoice"] = fields.ForeignKeyField(
        "models.Invoice", null=True, on_delete=fields.RESTRICT
    )
    seller = fields.JSONField[dict[str, object] | None](null=True)
    buyer = fields.JSONField[dict[str, object] | None](null=True)
    note = fields.TextField(null=True)
    due_on = fields.DateField(null=True)
    issued_at = fields.DatetimeField(null=True)
    paid_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "invoice"


class InvoiceLine(Model):
    """quantity: thousandths; tax_rate: hundredths of a per cent; amounts: minor units, with tax."""

    id = fields.UUIDField(primary_key=True)
    invoice: fields.ForeignKeyRelation[Invoice] = fields.ForeignKeyField(
        "models.Invoice", on_delete=fields.RESTRICT
    )
    place = fields.SmallIntField()
    description = fields.TextField()
    quantity = fields.BigIntField()
    unit_price = fields.BigIntField()
    tax_class = fields.TextField()
    tax_rate = fields.IntField()
    tax = fields.BigIntField()
    total = fields.BigIntField()
    item_code = fields.TextField(null=True)

    class Meta:
        table = "invoice_line"


class Notification(Model):
    """A message to somebody about one event, by one channel. The row is its own schedule.

    recipient: `customer`, `staff:<id>`, or `staff` where a channel reaches all of them at once.
    shown_to: their address as staff may see it.
    """

    id = fields.UUIDField(primary_key=True)
    position = fields.BigIntField()
    notice = fields.TextField()
    channel = fields.TextField()
    recipient = fields.TextField()
    staff: fields.ForeignKeyNullableRelation[Staff] = fields.ForeignKeyField(
        "models.Staff", null=True, on_delete=fields.RESTRICT
    )
    payment: fields.ForeignKeyNullableRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", null=True, on_delete=fields.RESTRICT
    )
    gateway: fields.ForeignKeyNullableRelation[GatewayAccount] = fields.ForeignKeyField(
        "models.GatewayAccount", null=True, on_delete=fields.RESTRICT
    )
    shown_to = fields.TextField()
    status = fields.TextField(default="WAITING")
    tries = fields.IntField(default=0)
    cause = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    ended_at = fields.DatetimeField(null=True)
    next_try_at = fields.DatetimeField(null=True)

    class Meta:
        table = "notification"


class FiscalDevice(Model):
    """A tax authority's device that signs receipts, and whose turn it is to talk to it.

    reached: the last number given to a document. items: the last number given to an item.
    """

    id = fields.UUIDField(primary_key=True)
    tin = fields.TextField()
    branch = fields.TextField()
    plugin = fields.TextField()
    reached = fields.BigIntField(default=0)
    items = fields.IntField(default=0)
    initialized_at = fields.DatetimeField(null=True)
    next_try_at = fields.DatetimeField(auto_now_add=True)
    tries = fields.IntField(default=0)
    error = fields.JSONField[dict[str, object] | None](null=True)
    holder = fields.UUIDField(null=True)
    lease_until = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "fiscal_device"


class FiscalItem(Model):
    """What is sold, under the number by which a device knows it."""

    id = fields.UUIDField(primary_key=True)
    device: fields.ForeignKeyRelation[FiscalDevice] = fields.ForeignKeyField(
        "models.FiscalDevice", on_delete=fields.RESTRICT
    )
    key = fields.TextField()
    number = fields.IntField()
    declared_at = fields.DatetimeField(null=True)

    class Meta:
        table = "fiscal_item"


class FiscalReceipt(Model):
    """An invoice or credit note on its way to a device, and what the device answered.

    place: its place in the line. sale: the invoice that was sold, or that a credit note is about.
    follows: the receipt that must be signed before. invc_no: our number, given once.
    doubted: a request may have arrived whose answer nobody saw.
    """

    id = fields.UUIDField(primary_key=True)
    place = fields.BigIntField()
    device: fields.ForeignKeyRelation[FiscalDevice] = fields.ForeignKeyField(
        "models.FiscalDevice", on_delete=fields.RESTRICT
    )
    invoice: fields.ForeignKeyRelation[Invoice] = fields.ForeignKeyField(
        "models.Invoice", related_name="fiscal_receipts", on_delete=fields.RESTRICT
    )
    sale: fields.ForeignKeyRelation[Invoice] = fields.ForeignKeyField(
        "models.Invoice", related_name="fiscal_receipts_of_sale", on_delete=fields.RESTRICT
    )
    follows: fields.ForeignKeyNullableRelation["FiscalReceipt"] = fields.ForeignKeyField(
        "models.FiscalReceipt", null=True, on_delete=fields.RESTRICT
    )
    fiscal_label = fields.TextField()
    status = fields.TextField(default="QUEUED")
    version = fields.IntField(default=1)
    document = fields.JSONField[dict[str, object]]()
    invc_no = fields.BigIntField(null=True)
    org_invc_no = fields.BigIntField(null=True)
    rcpt_no = fields.BigIntField(null=True)
    tot_rcpt_no = fields.BigIntField(null=True)
    sdc_id = fields.TextField(null=True)
    mrc_no = fields.TextField(null=True)
    internal_data = fields.TextField(null=True)
    receipt_signature = fields.TextField(null=True)
    sdc_datetime = fields.DatetimeField(null=True)
    qr_payload = fields.TextField(null=True)
    raw_answer = fields.JSONField[dict[str, object] | None](null=True)
    error = fields.JSONField[dict[str, object] | None](null=True)
    doubted = fields.BooleanField(default=False)
    tries = fields.IntField(default=0)
    copy_count = fields.IntField(default=0)
    completed_by = fields.TextField(null=True)
    evidence = fields.TextField(null=True)
    next_try_at = fields.DatetimeField(auto_now_add=True)
    sent_at = fields.DatetimeField(null=True)
    signed_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "fiscal_receipt"


class WebhookEndpoint(Model):
    """Where the merchant is told what happens. secret, previous_secret: sealed."""

    id = fields.UUIDField(primary_key=True)
    url = fields.TextField()
    events = fields.JSONField[list[str]]()
    enabled = fields.BooleanField(default=True)
    disabled_because = fields.TextField(null=True)
    deleted_at = fields.DatetimeField(null=True)
    secret = fields.TextField()
    previous_secret = fields.TextField(null=True)
    previous_until = fields.DatetimeField(null=True)
    failures = fields.IntField(default=0)
    failing_since = fields.DatetimeField(null=True)
    last_success_at = fields.DatetimeField(null=True)
    last_failure_at = fields.DatetimeField(null=True)
    last_error = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "webhook_endpoint"


class WebhookDelivery(Model):
    """One event for one endpoint. The row is its own schedule; `body` is what is signed."""

    id = fields.UUIDField(primary_key=True)
    endpoint: fields.ForeignKeyRelation[WebhookEndpoint] = fields.ForeignKeyField(
        "models.WebhookEndpoint", on_delete=fields.RESTRICT
    )
    position = fields.BigIntField(null=True)
    type = fields.TextField()
    payment: fields.ForeignKeyNullableRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", null=True, on_delete=fields.RESTRICT
    )
    body = fields.TextField()
    status = fields.TextField(default="PENDING")
    tries = fields.IntField(default=0)
    step = fields.IntField(default=0)
    http_status = fields.IntField(null=True)
    error = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    ended_at = fields.DatetimeField(null=True)
    next_try_at = fields.DatetimeField(null=True)

    class Meta:
        table = "webhook_delivery"


class WebhookTry(Model):
    """One try to deliver, and the beginning of what was answered."""

    id = fields.UUIDField(primary_key=True)
    delivery: fields.ForeignKeyRelation[WebhookDelivery] = fields.ForeignKeyField(
        "models.WebhookDelivery", on_delete=fields.RESTRICT
    )
    number = fields.IntField()
    http_status = fields.IntField(null=True)
    error = fields.TextField(null=True)
    answer = fields.TextField(null=True)
    duration_ms = fields.IntField()
    tried_at = fields.DatetimeField()

    class Meta:
        table = "webhook_try"


class StatementAccount(Model):
    """Where money lies and a statement comes from: a bank account, a wallet, a settlement report.

    settings: tolerances, windows, the fee that was agreed. closed_until: the last day of the last
    closed period.
    """

    id = fields.UUIDField(primary_key=True)
    code = fields.TextField()
    name = fields.TextField()
    kind = fields.TextField()
    currency = fields.TextField()
    number = fields.TextField(null=True)
    gateway: fields.ForeignKeyNullableRelation["GatewayAccount"] = fields.ForeignKeyField(
        "models.GatewayAccount", null=True, on_delete=fields.RESTRICT
    )
    profile = fields.TextField(null=True)
    settings = fields.JSONField[object](default=dict)
    closed_until = fields.DateField(null=True)
    version = fields.IntField(default=1)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "statement_account"


class Upload(Model):
    """A file as it came. `content`: sealed."""

    id = fields.UUIDField(primary_key=True)
    file_name = fields.TextField()
    size = fields.BigIntField()
    sha256 = fields.TextField()
    content = fields.BinaryField()
    created_by_kind = fields.TextField()
    created_by_name = fields.TextField()
    created_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "upload"


class StatementProfile(Model):
    """How this account's tables are to be read, as somebody set it."""

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    code = fields.TextField()
    name = fields.TextField()
    mapping = fields.JSONField[object]()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "statement_profile"


class StatementImport(Model):
    """One file at work, or done. A try that ended leaves nothing but this row.

    `reconcile_due`: no run has covered its lines, or not since a person released them.
    """

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    upload: fields.ForeignKeyRelation["Upload"] = fields.ForeignKeyField(
        "models.Upload", on_delete=fields.RESTRICT
    )
    sha256 = fields.TextField()
    status = fields.TextField(default="RUNNING")
    format = fields.TextField(null=True)
    profile = fields.TextField(null=True)
    dry_run = fields.BooleanField()
    lines_read = fields.IntField(default=0)
    lines_new = fields.IntField(default=0)
    lines_duplicate = fields.IntField(default=0)
    lines_rejected = fields.IntField(default=0)
    warnings = fields.JSONField[object](default=list)
    rejects = fields.JSONField[object](default=list)
    preview = fields.JSONField[object](null=True)
    error = fields.JSONField[object](null=True)
    progress = fields.FloatField(default=0)
    blocks_posting = fields.BooleanField(default=False)
    reconcile_due = fields.BooleanField(default=False)
    requested_by_kind = fields.TextField()
    requested_by_name = fields.TextField()
    requested_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    correlation_id = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    finished_at = fields.DatetimeField(null=True)
    next_try_at = fields.DatetimeField(null=True)
    tries = fields.IntField(default=0)

    class Meta:
        table = "statement_import"


class Statement(Model):
    """What one file says of one account. `ties`: opening and lines add up to closing."""

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    statement_import: fields.ForeignKeyRelation["StatementImport"] = fields.ForeignKeyField(
        "models.StatementImport", on_delete=fields.RESTRICT
    )
    number = fields.TextField(null=True)
    sequence = fields.TextField(null=True)
    currency = fields.TextField()
    period_from = fields.DateField(null=True)
    period_to = fields.DateField(null=True)
    opening = fields.BigIntField(null=True)
    closing = fields.BigIntField(null=True)
    ties = fields.BooleanField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "statement"


class StatementLine(Model):
    """One line of a statement, kept once however often it is imported.

    posted: the books have it.
    """

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    statement: fields.ForeignKeyRelation["Statement"] = fields.ForeignKeyField(
        "models.Statement", on_delete=fields.RESTRICT
    )
    statement_import: fields.ForeignKeyRelation["StatementImport"] = fields.ForeignKeyField(
        "models.StatementImport", on_delete=fields.RESTRICT
    )
    number = fields.IntField()
    status = fields.TextField(default="OPEN")
    entry_status = fields.TextField()
    kind = fields.TextField()
    direction = fields.TextField()
    amount = fields.BigIntField()
    currency = fields.TextField()
    gross = fields.BigIntField(null=True)
    fee = fields.BigIntField(null=True)
    charges = fields.BigIntField(null=True)
    booking_date = fields.DateField()
    value_date = fields.DateField(null=True)
    occurred_at = fields.DatetimeField(null=True)
    is_reversal = fields.BooleanField(default=False)
    transaction_id = fields.TextField(null=True)
    our_reference = fields.TextField(null=True)
    bank_reference = fields.TextField(null=True)
    customer_reference = fields.TextField(null=True)
    end_to_end_id = fields.TextField(null=True)
    structured_reference = fields.TextField(null=True)
    settlement = fields.TextField(null=True)
    counterparty = fields.TextField(null=True)
    counterparty_account = fields.TextField(null=True)
    narration = fields.TextField()
    type_code = fields.TextField(null=True)
    running_balance = fields.BigIntField(null=True)
    original_amount = fields.BigIntField(null=True)
    original_currency = fields.TextField(null=True)
    batch_count = fields.IntField(null=True)
    source = fields.TextField()
    fingerprint = fields.TextField()
    occurrence = fields.IntField()
    posted = fields.BooleanField(default=False)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "statement_line"


class LineRef(Model):
    """What a line names."""

    id = fields.BigIntField(primary_key=True)
    line: fields.ForeignKeyRelation["StatementLine"] = fields.ForeignKeyField(
        "models.StatementLine", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    value = fields.TextField()

    class Meta:
        table = "line_ref"


class ClearingItem(Model):
    """Money we know of that a statement has to confirm."""

    id = fields.UUIDField(primary_key=True)
    gateway: fields.ForeignKeyNullableRelation["GatewayAccount"] = fields.ForeignKeyField(
        "models.GatewayAccount", null=True, on_delete=fields.RESTRICT
    )
    account: fields.ForeignKeyNullableRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", null=True, on_delete=fields.RESTRICT
    )
    book = fields.TextField()
    kind = fields.TextField()
    direction = fields.TextField()
    amount = fields.BigIntField()
    currency = fields.TextField()
    fee = fields.BigIntField(null=True)
    status = fields.TextField(default="OPEN")
    payment: fields.ForeignKeyNullableRelation["Payment"] = fields.ForeignKeyField(
        "models.Payment", null=True, on_delete=fields.RESTRICT
    )
    attempt: fields.ForeignKeyNullableRelation["PaymentAttempt"] = fields.ForeignKeyField(
        "models.PaymentAttempt", null=True, on_delete=fields.RESTRICT
    )
    refund: fields.ForeignKeyNullableRelation["Refund"] = fields.ForeignKeyField(
        "models.Refund", null=True, on_delete=fields.RESTRICT
    )
    settlement = fields.TextField(null=True)
    payer_account = fields.TextField(null=True)
    payer_name = fields.TextField(null=True)
    began_at = fields.DatetimeField()
    occurred_at = fields.DatetimeField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "clearing_item"


class ItemRef(Model):
    """What a statement may call an item."""

    id = fields.BigIntField(primary_key=True)
    item: fields.ForeignKeyRelation["ClearingItem"] = fields.ForeignKeyField(
        "models.ClearingItem", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    value = fields.TextField()

    class Meta:
        table = "item_ref"


class LedgerEntry(Model):
    """An amount that goes from one account of the books to another. Append-only."""

    id = fields.BigIntField(primary_key=True)
    cause = fields.TextField()
    debit = fields.TextField()
    credit = fields.TextField()
    amount = fields.BigIntField()
    currency = fields.TextField()
    date = fields.DateField()
    item: fields.ForeignKeyNullableRelation["ClearingItem"] = fields.ForeignKeyField(
        "models.ClearingItem", null=True, on_delete=fields.RESTRICT
    )
    line: fields.ForeignKeyNullableRelation["StatementLine"] = fields.ForeignKeyField(
        "models.StatementLine", null=True, on_delete=fields.RESTRICT
    )
    match: fields.ForeignKeyNullableRelation["ReconMatch"] = fields.ForeignKeyField(
        "models.ReconMatch", null=True, on_delete=fields.RESTRICT
    )
    reverses = fields.BigIntField(null=True)
    actor = fields.TextField()
    note = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "ledger_entry"


class LedgerBalance(Model):
    """All debits and credits of one account; a trigger keeps it."""

    id = fields.CharField(primary_key=True, max_length=200)
    account = fields.TextField()
    currency = fields.TextField()
    debits = fields.BigIntField(default=0)
    credits = fields.BigIntField(default=0)

    class Meta:
        table = "ledger_balance"


class PeriodClose(Model):
    """That the books be closed up to a day, or opened again: one asks, another decides."""

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    closed_until = fields.DateField(null=True)
    status = fields.TextField(default="ASKED")
    note = fields.TextField(null=True)
    asked_by_name = fields.TextField()
    asked_by: fields.ForeignKeyRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", related_name=False, on_delete=fields.RESTRICT
    )
    decided_by_name = fields.TextField(null=True)
    decided_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    decision_note = fields.TextField(null=True)
    decided_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "period_close"


class BooksCheck(Model):
    """What one self-check of the books found."""

    id = fields.UUIDField(primary_key=True)
    entries = fields.BigIntField()
    breaks = fields.JSONField[object]()
    checked_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "books_check"


class Reconciliation(Model):
    """One run over one account."""

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    from_date = fields.DateField()
    to_date = fields.DateField()
    version = fields.IntField(default=1)
    status = fields.TextField(default="RUNNING")
    step = fields.TextField(null=True)
    progress = fields.FloatField(default=0)
    counts = fields.JSONField[object](default=dict)
    error = fields.TextField(null=True)
    note = fields.TextField(null=True)
    requested_by_kind = fields.TextField()
    requested_by_name = fields.TextField()
    requested_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    decided_by_kind = fields.TextField(null=True)
    decided_by_name = fields.TextField(null=True)
    decided_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    decided_at = fields.DatetimeField(null=True)
    correlation_id = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    finished_at = fields.DatetimeField(null=True)
    next_try_at = fields.DatetimeField(null=True)
    tries = fields.IntField(default=0)
    night = fields.DateField(null=True)

    class Meta:
        table = "reconciliation"


class ReconMatch(Model):
    """Lines and items that belong together, and why."""

    id = fields.UUIDField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    reconciliation: fields.ForeignKeyNullableRelation["Reconciliation"] = fields.ForeignKeyField(
        "models.Reconciliation", null=True, on_delete=fields.RESTRICT
    )
    status = fields.TextField()
    rule = fields.TextField()
    confidence = fields.SmallIntField()
    explanation = fields.JSONField[object](default=list)
    currency = fields.TextField()
    fee = fields.BigIntField(default=0)
    difference = fields.BigIntField(default=0)
    decided_by_kind = fields.TextField(null=True)
    decided_by_name = fields.TextField(null=True)
    decided_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    decided_at = fields.DatetimeField(null=True)
    note = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "recon_match"


class MatchLeg(Model):
    """One line or one item of a match."""

    id = fields.BigIntField(primary_key=True)
    match: fields.ForeignKeyRelation["ReconMatch"] = fields.ForeignKeyField(
        "models.ReconMatch", on_delete=fields.RESTRICT
    )
    line: fields.ForeignKeyNullableRelation["StatementLine"] = fields.ForeignKeyField(
        "models.StatementLine", null=True, on_delete=fields.RESTRICT
    )
    item: fields.ForeignKeyNullableRelation["ClearingItem"] = fields.ForeignKeyField(
        "models.ClearingItem", null=True, on_delete=fields.RESTRICT
    )
    live = fields.BooleanField(default=True)

    class Meta:
        table = "match_leg"


class RejectedPair(Model):
    """A person's no to a line and an item."""

    id = fields.UUIDField(primary_key=True)
    line: fields.ForeignKeyRelation["StatementLine"] = fields.ForeignKeyField(
        "models.StatementLine", on_delete=fields.RESTRICT
    )
    item: fields.ForeignKeyRelation["ClearingItem"] = fields.ForeignKeyField(
        "models.ClearingItem", on_delete=fields.RESTRICT
    )
    rejected_by = fields.TextField()
    rejected_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "rejected_pair"


class MatchFound(Model):
    """A match that a run has found and not written down yet."""

    id = fields.BigIntField(primary_key=True)
    account_id = fields.UUIDField()
    line_ids = ArrayField("uuid")
    item_ids = ArrayField("uuid")
    rule = fields.TextField()
    confidence = fields.SmallIntField()
    fee = fields.BigIntField()
    difference = fields.BigIntField()
    currency = fields.TextField()
    named = fields.TextField(null=True)
    explanation = fields.JSONField[object | None](null=True)
    suggested = fields.BooleanField()

    class Meta:
        table = "match_found"


class MatchAmbiguity(Model):
    """A line and an item that would fit, as others would."""

    id = fields.BigIntField(primary_key=True)
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    line: fields.ForeignKeyRelation["StatementLine"] = fields.ForeignKeyField(
        "models.StatementLine", on_delete=fields.RESTRICT
    )
    item: fields.ForeignKeyRelation["ClearingItem"] = fields.ForeignKeyField(
        "models.ClearingItem", on_delete=fields.RESTRICT
    )
    rule = fields.TextField()
    score = fields.SmallIntField()

    class Meta:
        table = "match_ambiguity"


class Discrepancy(Model):
    """What does not agree, once however often it is found."""

    id = fields.UUIDField(primary_key=True)
    key = fields.TextField()
    account: fields.ForeignKeyRelation["StatementAccount"] = fields.ForeignKeyField(
        "models.StatementAccount", on_delete=fields.RESTRICT
    )
    kind = fields.TextField()
    severity = fields.TextField()
    status = fields.TextField(default="OPEN")
    payment: fields.ForeignKeyNullableRelation["Payment"] = fields.ForeignKeyField(
        "models.Payment", null=True, on_delete=fields.RESTRICT
    )
    item: fields.ForeignKeyNullableRelation["ClearingItem"] = fields.ForeignKeyField(
        "models.ClearingItem", null=True, on_delete=fields.RESTRICT
    )
    line: fields.ForeignKeyNullableRelation["StatementLine"] = fields.ForeignKeyField(
        "models.StatementLine", null=True, on_delete=fields.RESTRICT
    )
    match: fields.ForeignKeyNullableRelation["ReconMatch"] = fields.ForeignKeyField(
        "models.ReconMatch", null=True, on_delete=fields.RESTRICT
    )
    currency = fields.TextField()
    expected = fields.BigIntField(null=True)
    actual = fields.BigIntField(null=True)
    message = fields.TextField()
    candidates = fields.JSONField[object](default=list)
    since = fields.DateField()
    assigned_to: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    resolution = fields.TextField(null=True)
    resolved_by_kind = fields.TextField(null=True)
    resolved_by_name = fields.TextField(null=True)
    resolved_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    resolved_at = fields.DatetimeField(null=True)
    asked_by: fields.ForeignKeyNullableRelation["Staff"] = fields.ForeignKeyField(
        "models.Staff", null=True, related_name=False, on_delete=fields.RESTRICT
    )
    asked_by_name = fields.TextField(null=True)
    reconciliation: fields.ForeignKeyNullableRelation["Reconciliation"] = fields.ForeignKeyField(
        "models.Reconciliation", null=True, on_delete=fields.RESTRICT
    )
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "discrepancy"


class RevenueRollup(Model):
    """What one day's payments of one gateway, currency and status add up to."""

    id = fields.UUIDField(primary_key=True)
    day = fields.DateField()
    gateway: fields.ForeignKeyNullableRelation["GatewayAccount"] = fields.ForeignKeyField(
        "models.GatewayAccount", null=True, on_delete=fields.RESTRICT
    )
    currency = fields.TextField()
    status = fields.TextField()
    count = fields.BigIntField()
    amount = fields.DecimalField(max_digits=40, decimal_places=0)
    captured = fields.DecimalField(max_digits=40, decimal_places=0)
    refunded = fields.DecimalField(max_digits=40, decimal_places=0)

    class Meta:
        table = "revenue_rollup"


class AttemptRollup(Model):
    """How many of one day's attempts on one gateway ended in one way, and in what time."""

    id = fields.UUIDField(primary_key=True)
    day = fields.DateField()
    gateway: fields.ForeignKeyRelation["GatewayAccount"] = fields.ForeignKeyField(
        "models.GatewayAccount", on_delete=fields.RESTRICT
    )
    outcome = fields.TextField()
    bucket = fields.IntField(null=True)
    count = fields.BigIntField()

    class Meta:
        table = "attempt_rollup"


class AttemptTally(Model):
    """What of an attempt is in `attempt_rollup`."""

    attempt: fields.OneToOneRelation["PaymentAttempt"] = fields.OneToOneField(
        "models.PaymentAttempt", primary_key=True, on_delete=fields.RESTRICT
    )
    outcome = fields.TextField()
    bucket = fields.IntField(null=True)

    class Meta:
        table = "attempt_tally"


__file__ = _file
