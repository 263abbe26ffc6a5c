"""Sealed values: gateway credentials at rest, and the tokens that only we can have made."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, URLSafeSerializer

from dusangire.errors import CannotStart
from dusangire.settings import Settings


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id; the first one seals, all of them open."""

    keys: Mapping[str, bytes]

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """From `id:base64key,…` with keys of 32 bytes. Raises CannotStart."""
        keys: dict[str, bytes] = {}
        for part in text.split(","):
            key_id, _, encoded = part.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except ValueError:  # not base64, or not even ASCII
                key = b""
            if not key_id or not key_id.isalnum() or len(key) != 32:
                raise CannotStart(
                    f"DUSANGIRE_SECRET_KEYS: the key {key_id[:20]!r} must be written as id:key, "
                    "with a key of 32 bytes in base64."
                )
            keys[key_id] = key
        return cls(keys)

    @classmethod
    def open(cls, settings: Settings) -> "Keyring":
        """The keys of the settings; in test mode a file in the home folder serves as well.

        Raises CannotStart in live mode without DUSANGIRE_SECRET_KEYS.
        """
        if settings.secret_keys:
            return cls.parse(settings.secret_keys)
        if settings.live:
            raise CannotStart(
                "DUSANGIRE_SECRET_KEYS is not set. Live mode needs it: make a key with "
                "`openssl rand -base64 32` and set DUSANGIRE_SECRET_KEYS=k1:<that key>."
            )
        return cls.parse(_key_file(settings.home / "secret.keys"))

    def seal(self, text: str, *, owner: str, field: str) -> str:
        """AES-256-GCM with a random nonce; only the same owner and field can open it."""
        key_id, key = self.newest, self.keys[self.newest]
        nonce = secrets.token_bytes(12)
        sealed = nonce + AESGCM(key).encrypt(nonce, text.encode(), _bound(owner, field))
        return f"{key_id}:{base64.b64encode(sealed).decode()}"

    def unseal(self, blob: str, *, owner: str, field: str) -> str:
        """Raises CannotStart, naming the key, when it is missing or another one."""
        key_id, _, encoded = blob.partition(":")
        if key_id not in self.keys:
            raise CannotStart(_missing(owner, field, key_id))
        try:
            sealed = base64.b64decode(encoded, validate=True)
            opened = AESGCM(self.keys[key_id]).decrypt(
                sealed[:12], sealed[12:], _bound(owner, field)
            )
        except (InvalidTag, ValueError) as error:
            raise CannotStart(_another(owner, field, key_id)) from error
        return opened.decode()

    def seal_bytes(self, content: bytes, *, owner: str, field: str) -> bytes:
        """Like `seal`, of a file: without the third more that text takes."""
        key_id, key = self.newest, self.keys[self.newest]
        nonce = secrets.token_bytes(12)
        return (
            key_id.encode()
            + b":"
            + nonce
            + AESGCM(key).encrypt(nonce, content, _bound(owner, field))
        )

    def unseal_bytes(self, blob: bytes, *, owner: str, field: str) -> bytes:
        """Raises CannotStart, as `unseal` does."""
        key_id, _, sealed = blob.partition(b":")
        name = key_id.decode("ascii", "replace")
        if name not in self.keys:
            raise CannotStart(_missing(owner, field, name))
        try:
            return AESGCM(self.keys[name]).decrypt(sealed[:12], sealed[12:], _bound(owner, field))
        except (InvalidTag, ValueError) as error:
            raise CannotStart(_another(owner, field, name)) from error

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def digests(self, text: str, purpose: str) -> list[str]:
        """What `text` is recognised by and nobody can guess it from: by each key, newest first."""
        return [
            hmac.new(_derive(key, purpose), text.encode(), hashlib.sha256).hexdigest()
            for key in self.keys.values()
        ]

    def signer(self, purpose: str) -> URLSafeSerializer:
        """Signs small values for one purpose; signatures of every key on the ring are accepted."""
        return _signer(tuple(self.keys.values()), purpose)


@cache
def _signer(keys: tuple[bytes, ...], purpose: str) -> URLSafeSerializer:
    # itsdangerous signs with the last key of its list.
    derived = [_derive(key, purpose) for key in reversed(keys)]
    return URLSafeSerializer(
        derived,
        salt=purpose,
        signer_kwargs={"key_derivation": "none", "digest_method": hashlib.sha256},
    )


def _missing(owner: str, field: str, key_id: str) -> str:
    return (
        f"{owner}.{field} is sealed with the key {key_id!r}, which is not in "
        "DUSANGIRE_SECRET_KEYS. Add that key again; nothing was changed."
    )


def _another(owner: str, field: str, key_id: str) -> str:
    return (
        f"{owner}.{field} cannot be opened with the key {key_id!r}: it is not the key it "
        "was sealed with. Put the right one into DUSANGIRE_SECRET_KEYS; nothing was "
        "changed."
    )


def _bound(owner: str, field: str) -> bytes:
    return f"{owner}\x1f{field}".encode()


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=purpose.encode()).derive(key)


def _key_file(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written aside, then linked: of processes that start together one wins, and nobody reads
        # half a key.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("dev:" + base64.b64encode(secrets.token_bytes(32)).decode())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text().strip()


__all__ = ["BadSignature", "Keyring"]
