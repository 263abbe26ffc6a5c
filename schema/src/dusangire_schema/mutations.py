"""What can be done. Each answers with the object and what the caller has to correct."""

import asyncio
from collections.abc import Mapping
from typing import cast

import strawberry

from dusangire import access, stored_methods
from dusangire import payments as core
from dusangire.errors import GatewayNotFound, Invalid
from dusangire_schema import described
from dusangire_schema.audit import CustomerMutations
from dusangire_schema.books import BooksMutations
from dusangire_schema.context import Info
from dusangire_schema.discrepancies import DiscrepancyMutations
from dusangire_schema.enums import Scope
from dusangire_schema.errors import UserError, answering
from dusangire_schema.fiscal import FiscalMutations
from dusangire_schema.inputs import (
    AttemptPaymentInput,
    CancelPaymentInput,
    ConfirmPaymentInput,
    CreatePaymentInput,
    SaveGatewayInput,
    json_value,
    known_id,
)
from dusangire_schema.invoices import InvoiceMutations
from dusangire_schema.merchant import MerchantMutations
from dusangire_schema.merchant_webhooks import WebhookMutations
from dusangire_schema.people import PeopleMutations
from dusangire_schema.reconciliation import ReconciliationMutations
from dusangire_schema.refunds import RefundMutations
from dusangire_schema.statements import StatementMutations
from dusangire_schema.types import ApiKey, Gateway, Payment, StoredMethod

# A provider that does not answer within this is reported as such, before the request's own end.
GATEWAY_TEST_TIMEOUT = 8


@strawberry.type
class CreatePaymentPayload:
    payment: Payment | None = None
    client_token: str | None = strawberry.field(
        default=None, description="Lets a phone or browser read, pay and watch this one payment."
    )
    replayed: bool = False
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "CreatePaymentPayload":
        return cls(user_errors=errors)


@strawberry.type
class PaymentPayload:
    payment: Payment | None = None
    replayed: bool = False
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, done: core.Done) -> "PaymentPayload":
        return cls(payment=cast("Payment", done.payment), replayed=done.replayed)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "PaymentPayload":
        return cls(user_errors=errors)


@strawberry.type
class GatewayPayload:
    gateway: Gateway | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "GatewayPayload":
        return cls(user_errors=errors)


@strawberry.type
class TestGatewayPayload:
    __test__: strawberry.Private[bool] = False  # not a test class, whatever pytest thinks
    ok: bool = False
    message: str = ""
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "TestGatewayPayload":
        return cls(message=errors[0].message, user_errors=errors)


@strawberry.type
class StoredMethodPayload:
    stored_method: StoredMethod | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "StoredMethodPayload":
        return cls(user_errors=errors)


@strawberry.type
class ApiKeyPayload:
    api_key: ApiKey | None = None
    secret: str | None = strawberry.field(default=None, description="Shown once.")
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "ApiKeyPayload":
        return cls(user_errors=errors)


@strawberry.type
class Mutation(
    DiscrepancyMutations,
    ReconciliationMutations,
    BooksMutations,
    CustomerMutations,
    PeopleMutations,
    RefundMutations,
    MerchantMutations,
    WebhookMutations,
    InvoiceMutations,
    FiscalMutations,
    StatementMutations,
):
    @strawberry.mutation
    @answering(CreatePaymentPayload.refused)
    async def create_payment(self, info: Info, input: CreatePaymentInput) -> CreatePaymentPayload:
        context = info.context
        done = await core.create_payment(context.core, context.actor, input.to_core())
        return CreatePaymentPayload(
            payment=cast("Payment", done.payment),
            client_token=context.core.authenticator.client_token(done.payment.id),
            replayed=done.replayed,
        )

    @strawberry.mutation
    @answering(PaymentPayload.refused)
    async def attempt_payment(self, info: Info, input: AttemptPaymentInput) -> PaymentPayload:
        context = info.context
        return PaymentPayload.of(
            await core.attempt_payment(context.core, context.actor, input.to_core())
        )

    @described.field("Ask the gateway now.")
    @answering(PaymentPayload.refused)
    async def check_payment(self, info: Info, payment_id: strawberry.ID) -> PaymentPayload:
        context = info.context
        known = known_id(payment_id, "paymentId")
        return PaymentPayload.of(await core.check_payment(context.core, context.actor, known))

    @strawberry.mutation
    @answering(PaymentPayload.refused)
    async def cancel_payment(self, info: Info, input: CancelPaymentInput) -> PaymentPayload:
        context = info.context
        known = known_id(input.payment_id, "paymentId")
        return PaymentPayload.of(
            await core.cancel_payment(context.core, context.actor, known, input.reason)
        )

    @strawberry.mutation
    @answering(PaymentPayload.refused)
    async def confirm_payment(self, info: Info, input: ConfirmPaymentInput) -> PaymentPayload:
        context = info.context
        return PaymentPayload.of(
            await core.confirm_payment(context.core, context.actor, input.to_core())
        )

    @described.field("The number or token is wiped. Doing it again changes nothing.")
    @answering(StoredMethodPayload.refused)
    async def remove_stored_method(self, info: Info, id: strawberry.ID) -> StoredMethodPayload:
        removed = await stored_methods.remove(info.context.actor, known_id(id, "id"))
        return StoredMethodPayload(stored_method=cast("StoredMethod", removed))

    @strawberry.mutation
    @answering(GatewayPayload.refused)
    async def save_gateway(self, info: Info, input: SaveGatewayInput) -> GatewayPayload:
        config = json_value(input.config, "config")
        if not isinstance(config, Mapping):
            raise Invalid("config must be an object: keys and their values.", field=["config"])
        saved = await info.context.core.gateways.save(
            info.context.actor,
            code=input.code,
            plugin=input.plugin,
            name=input.name,
            environment=input.environment,
            config=config,
            enabled=input.enabled is not False,
        )
        return GatewayPayload(gateway=cast("Gateway", saved))

    @strawberry.mutation
    @answering(TestGatewayPayload.refused)
    async def test_gateway(self, info: Info, code: str) -> TestGatewayPayload:
        context = info.context
        try:
            async with asyncio.timeout(GATEWAY_TEST_TIMEOUT):
                report = await context.core.gateways.test(context.actor, code)
        except GatewayNotFound as error:
            raise GatewayNotFound(error.message, field=["code"]) from error
        except TimeoutError:
            return TestGatewayPayload(
                message=f"The gateway did not answer within {GATEWAY_TEST_TIMEOUT} seconds."
            )
        return TestGatewayPayload(ok=report.ok, message=report.message)

    @strawberry.mutation
    @answering(ApiKeyPayload.refused)
    async def create_api_key(self, info: Info, name: str, scopes: list[Scope]) -> ApiKeyPayload:
        key, secret = await access.create_api_key(info.context.actor, name, scopes)
        return ApiKeyPayload(api_key=cast("ApiKey", key), secret=secret)

    @strawberry.mutation
    @answering(ApiKeyPayload.refused)
    async def revoke_api_key(self, info: Info, id: strawberry.ID) -> ApiKeyPayload:
        key = await access.revoke_api_key(info.context.actor, known_id(id, "id"))
        return ApiKeyPayload(api_key=cast("ApiKey", key))
