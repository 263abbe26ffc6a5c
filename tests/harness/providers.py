"""The providers that payments go through in a run: an account at each, and what payers are told."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field


def _canary(name: str) -> str:
    return f"canary-{name.replace('_', '-')}-{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Provider:
    """A gateway of ours with a simulator behind it. `code` is its plugin's name too.

    account: the config of the one account there is.
    secret: which of its settings must never be seen; each is recognisable.
    asks_for_url: webhooks go to an address that is registered there, and not to one in a request.
    """

    code: str
    account: Mapping[str, str | int]
    secret: tuple[str, ...] = ()
    asks_for_url: bool = False

    def secrets(self) -> list[str]:
        return [str(self.account[name]) for name in self.secret]

    def charge_of(self, message: str) -> str:
        """What the payer was charged for, from what the payer was told."""
        # Airtel's prompt begins with our reference, by which it is found in its portal.
        return message.partition(" ")[2] if self.code == "airtel" else message


def mtn() -> Provider:
    keys = (
        "collection_subscription_key",
        "collection_api_key",
        "disbursement_subscription_key",
        "disbursement_api_key",
    )
    account = {
        "target_environment": "mtnrwanda",
        "currency": "RWF",
        "collection_api_user": "3f2b8c1e-5d47-4a90-9b6e-0c1d2e3f4a5b",
        "disbursement_api_user": "9a1c7e52-6b38-4f0d-8e21-7d6c5b4a3f2e",
        **{name: _canary(name) for name in keys},
    }
    return Provider("mtn", account, keys)


def airtel() -> Provider:
    keys = ("client_secret", "callback_hash_key")
    account = {
        "client_id": "5e0c7d1a-93b4-4f6e-8a52-1b2c3d4e5f60",
        **{name: _canary(name) for name in keys},
    }
    return Provider("airtel", account, keys, asks_for_url=True)


def card() -> Provider:
    account: dict[str, str | int] = {
        "secret_key": f"FLWSECK_TEST-{_canary('secret_key')}-X",
        "webhook_secret_hash": _canary("webhook_secret_hash"),
        "email_domain": "buyers.example.rw",
        "max_attempts": 2,
    }
    return Provider("card", account, ("secret_key", "webhook_secret_hash"), asks_for_url=True)


PROVIDERS = {"mtn": mtn, "airtel": airtel, "card": card}


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of a run, new for each."""

    providers: tuple[Provider, ...] = field(default_factory=lambda: (mtn(),))

    @classmethod
    def at(cls, *codes: str) -> "Accounts":
        return cls(tuple(PROVIDERS[code]() for code in codes if code in PROVIDERS))

    def texts(self) -> list[str]:
        """What must never be seen."""
        return [text for provider in self.providers for text in provider.secrets()]
