"""Who may do what: one row for each thing that can be done.

GraphQL, over HTTP and sockets, the pages, and the command line all end up in the same use cases,
and these ask `Actor.require` with a word of `Permission`. There is no other table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What an API key may do. ADMIN may do everything that a key can."""

    PAYMENTS_READ = "PAYMENTS_READ"
    PAYMENTS_WRITE = "PAYMENTS_WRITE"
    REFUNDS_REQUEST = "REFUNDS_REQUEST"
    RECONCILIATION = "RECONCILIATION"
    ADMIN = "ADMIN"


class Role(StrEnum):
    """What a person may do: each role may do what the ones before it may."""

    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    APPROVER = "APPROVER"
    ADMIN = "ADMIN"

    @property
    def rank(self) -> int:
        return list(Role).index(self)


# These say yes to money leaving and hold the keys: a password alone is not enough for them.
TWO_FACTORS = frozenset({Role.APPROVER, Role.ADMIN})


class Permission(StrEnum):
    """A thing that can be done."""

    READ_PAYMENTS = "READ_PAYMENTS"
    READ_PAYMENT = "READ_PAYMENT"
    READ_EXCHANGES = "READ_EXCHANGES"
    WRITE_PAYMENTS = "WRITE_PAYMENTS"
    REVEAL_CUSTOMERS = "REVEAL_CUSTOMERS"

    READ_REFUNDS = "READ_REFUNDS"
    REQUEST_REFUNDS = "REQUEST_REFUNDS"
    DECIDE_REFUNDS = "DECIDE_REFUNDS"
    SETTLE_REFUNDS = "SETTLE_REFUNDS"
    SETTLE_UNKNOWN_REFUNDS = "SETTLE_UNKNOWN_REFUNDS"

    READ_INVOICES = "READ_INVOICES"
    WRITE_INVOICES = "WRITE_INVOICES"
    RETRY_FISCAL_RECEIPTS = "RETRY_FISCAL_RECEIPTS"
    SETTLE_FISCAL_RECEIPTS = "SETTLE_FISCAL_RECEIPTS"
    READ_MERCHANT = "READ_MERCHANT"
    WRITE_MERCHANT = "WRITE_MERCHANT"

    CONFIGURE_GATEWAYS = "CONFIGURE_GATEWAYS"
    READ_GATEWAY_SETTINGS = "READ_GATEWAY_SETTINGS"
    MANAGE_KEYS = "MANAGE_KEYS"
    READ_KEYS = "READ_KEYS"
    MANAGE_WEBHOOKS = "MANAGE_WEBHOOKS"
    READ_WEBHOOKS = "READ_WEBHOOKS"
    MANAGE_STAFF = "MANAGE_STAFF"
    READ_STAFF = "READ_STAFF"
    READ_NOTIFICATIONS = "READ_NOTIFICATIONS"
    READ_AUDIT = "READ_AUDIT"
    READ_METRICS = "READ_METRICS"

    READ_STATEMENTS = "READ_STATEMENTS"
    IMPORT_STATEMENTS = "IMPORT_STATEMENTS"
    CONFIGURE_STATEMENTS = "CONFIGURE_STATEMENTS"
    RECONCILE = "RECONCILE"
    DECIDE_MATCHES = "DECIDE_MATCHES"
    APPROVE_RECONCILIATIONS = "APPROVE_RECONCILIATIONS"
    RESOLVE_DISCREPANCIES = "RESOLVE_DISCREPANCIES"
    WRITE_OFF = "WRITE_OFF"
    READ_BOOKS = "READ_BOOKS"
    CLOSE_PERIODS = "CLOSE_PERIODS"
    READ_ANALYTICS = "READ_ANALYTICS"

    ROTATE_SECRETS = "ROTATE_SECRETS"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do one thing.

    role: people with this role or a higher one.
    scopes: API keys with any of these scopes, or with ADMIN; none: no key at all.
    fresh: a person must have confirmed who they are within the last five minutes.
    command_line: whoever may run commands on the server may do it, without a name of their own.
    """

    role: Role
    scopes: frozenset[Scope] = frozenset()
    fresh: bool = False
    command_line: bool = True


def _keys(*scopes: Scope) -> frozenset[Scope]:
    return frozenset({*scopes, Scope.ADMIN})


_READERS = _keys(Scope.PAYMENTS_READ)
_WRITERS = _keys(Scope.PAYMENTS_WRITE)
_REFUNDERS = _keys(Scope.REFUNDS_REQUEST)
_ACCOUNTANTS = _keys(Scope.RECONCILIATION)
_ADMINS = _keys()

RULES: Mapping[Permission, Rule] = {
    Permission.READ_PAYMENTS: Rule(Role.VIEWER, _READERS),
    # One payment whose id is known: who may make payments may look at them.
    Permission.READ_PAYMENT: Rule(Role.VIEWER, _READERS | _WRITERS),
    Permission.READ_EXCHANGES: Rule(Role.VIEWER, _READERS | _WRITERS),
    Permission.WRITE_PAYMENTS: Rule(Role.OPERATOR, _WRITERS),
    # Keys belong to the merchant's own systems, which gave us the numbers. People look one up.
    Permission.REVEAL_CUSTOMERS: Rule(Role.OPERATOR),
    Permission.READ_REFUNDS: Rule(Role.VIEWER, _READERS | _REFUNDERS),
    Permission.REQUEST_REFUNDS: Rule(Role.OPERATOR, _REFUNDERS),
    # Four eyes are the eyes of people with names.
    Permission.DECIDE_REFUNDS: Rule(Role.APPROVER, fresh=True, command_line=False),
    Permission.SETTLE_REFUNDS: Rule(Role.OPERATOR, command_line=False),
    Permission.SETTLE_UNKNOWN_REFUNDS: Rule(Role.APPROVER, fresh=True, command_line=False),
    Permission.READ_INVOICES: Rule(Role.VIEWER, _READERS),
    Permission.WRITE_INVOICES: Rule(Role.OPERATOR, _WRITERS),
    Permission.RETRY_FISCAL_RECEIPTS: Rule(Role.OPERATOR),
    # What a person types in here is tax evidence, and stands on an invoice for ever.
    Permission.SETTLE_FISCAL_RECEIPTS: Rule(Role.APPROVER, fresh=True, command_line=False),
    Permission.READ_MERCHANT: Rule(Role.VIEWER, _READERS | _WRITERS),
    Permission.WRITE_MERCHANT: Rule(Role.ADMIN, _ADMINS),
    Permission.CONFIGURE_GATEWAYS: Rule(Role.ADMIN, _ADMINS, fresh=True),
    Permission.READ_GATEWAY_SETTINGS: Rule(Role.ADMIN, _ADMINS),
    Permission.MANAGE_KEYS: Rule(Role.ADMIN, _ADMINS, fresh=True),
    Permission.READ_KEYS: Rule(Role.ADMIN, _ADMINS),
    Permission.MANAGE_WEBHOOKS: Rule(Role.ADMIN, _ADMINS, fresh=True),
    Permission.READ_WEBHOOKS: Rule(Role.OPERATOR, _ADMINS),
    Permission.MANAGE_STAFF: Rule(Role.ADMIN, fresh=True),
    Permission.READ_STAFF: Rule(Role.ADMIN),
    Permission.READ_NOTIFICATIONS: Rule(Role.VIEWER, _READERS),
    Permission.READ_AUDIT: Rule(Role.APPROVER, _ADMINS),
    Permission.READ_METRICS: Rule(Role.ADMIN, _ADMINS),
    Permission.READ_STATEMENTS: Rule(Role.VIEWER, _ACCOUNTANTS),
    Permission.IMPORT_STATEMENTS: Rule(Role.OPERATOR, _ACCOUNTANTS),
    Permission.CONFIGURE_STATEMENTS: Rule(Role.ADMIN, _ADMINS),
    Permission.RECONCILE: Rule(Role.OPERATOR, _ACCOUNTANTS),
    # A person says that this money is that payment's: with a name, and not by a key.
    Permission.DECIDE_MATCHES: Rule(Role.OPERATOR, command_line=False),
    Permission.APPROVE_RECONCILIATIONS: Rule(Role.APPROVER, fresh=True, command_line=False),
    Permission.RESOLVE_DISCREPANCIES: Rule(Role.OPERATOR, command_line=False),
    Permission.WRITE_OFF: Rule(Role.APPROVER, fresh=True, command_line=False),
    Permission.READ_BOOKS: Rule(Role.VIEWER, _ACCOUNTANTS),
    Permission.CLOSE_PERIODS: Rule(Role.APPROVER, fresh=True, command_line=False),
    Permission.READ_ANALYTICS: Rule(Role.VIEWER, _READERS),
    Permission.ROTATE_SECRETS: Rule(Role.ADMIN, _ADMINS, fresh=True),
}
