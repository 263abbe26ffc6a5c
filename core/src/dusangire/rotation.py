"""New keys: what an older one sealed is sealed with the newest one, while everything goes on."""

from dataclasses import dataclass

import orjson

from dusangire import stored_methods
from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import fetch
from dusangire.importing.uploads import anew
from dusangire.inbox import token_owner
from dusangire.keyring import Keyring
from dusangire.outbox.sealed import secret_owner
from dusangire.people import onetime
from dusangire.permissions import Permission
from dusangire.records import json_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The id of the newest key, and how much was sealed anew with it. Zero: it had all already."""

    key: str
    gateways: int
    stored_methods: int
    webhook_endpoints: int
    code_generators: int
    uploads: int


_STALE_GATEWAYS = """SELECT id, secrets FROM gateway_account WHERE EXISTS (
    SELECT FROM jsonb_each_text(secrets) WHERE split_part(value, ':', 1) <> $1)"""
# Only if nobody saved it since it was read. The values are the same, so nobody reads them anew.
_RESEAL_GATEWAY = """UPDATE gateway_account SET secrets = $3::jsonb
WHERE id = $1 AND secrets = $2::jsonb RETURNING id"""
# Tokens wait here for the worker, seconds as a rule.
_STALE_WEBHOOKS = """SELECT id, outcome FROM gateway_webhook
WHERE next_try_at IS NOT NULL AND split_part(outcome #>> '{token,secret}', ':', 1) <> $1
LIMIT 200"""
_RESEAL_WEBHOOK = """UPDATE gateway_webhook
SET outcome = jsonb_set(outcome, '{token,secret}', to_jsonb($3::text))
WHERE id = $1 AND outcome = $2::jsonb RETURNING id"""
_STALE_ENDPOINTS = """SELECT id, secret, previous_secret FROM webhook_endpoint
WHERE split_part(secret, ':', 1) <> $1 OR split_part(previous_secret, ':', 1) <> $1"""
_RESEAL_ENDPOINT = """UPDATE webhook_endpoint SET secret = $4, previous_secret = $5
WHERE id = $1 AND secret = $2 AND previous_secret IS NOT DISTINCT FROM $3 RETURNING id"""
_STALE_STAFF = "SELECT id, totp FROM staff WHERE split_part(totp, ':', 1) <> $1 LIMIT 200"
_RESEAL_STAFF = "UPDATE staff SET totp = $3 WHERE id = $1 AND totp = $2 RETURNING id"
# A file may be large: one at a time.
_STALE_UPLOAD = """SELECT id, content FROM upload
WHERE content <> '' AND substr(content, 1, length($1::bytea)) <> $1 LIMIT 1"""
_RESEAL_UPLOAD = "UPDATE upload SET content = $2 WHERE id = $1 AND content <> '' RETURNING id"
_NOTE = f"INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($1, $2, $3, $4, $5::jsonb, $6)"


async def rotate(core: Core, actor: Actor) -> Rotated:
    """Seals credentials and tokens with the newest key. Stopped half-way, it goes on next time.

    Raises Forbidden; CannotStart, naming a key that is missing.
    """
    actor.require(Permission.ROTATE_SECRETS)
    rotated = Rotated(
        key=core.keyring.newest,
        gateways=await _gateways(core.keyring),
        stored_methods=await stored_methods.reseal(core) + await _webhooks(core.keyring),
        webhook_endpoints=await _endpoints(core.keyring),
        code_generators=await _code_generators(core.keyring),
        uploads=await _uploads(core.keyring),
    )
    done = {
        "gateways": rotated.gateways,
        "stored_methods": rotated.stored_methods,
        "webhook_endpoints": rotated.webhook_endpoints,
        "code_generators": rotated.code_generators,
        "uploads": rotated.uploads,
    }
    object_ = f"key:{rotated.key}"
    await fetch(_NOTE, *audit_values(actor.kind, actor.name, "secrets.rotated", object_, done))
    return rotated


async def _gateways(keyring: Keyring) -> int:
    done = 0
    while stale := await fetch(_STALE_GATEWAYS, keyring.newest):
        for row in stale:
            sealed = {
                name: _anew(keyring, blob, owner=str(row["id"]), field=name)
                for name, blob in json_of(row["secrets"]).items()
            }
            text = orjson.dumps(sealed).decode()
            done += len(await fetch(_RESEAL_GATEWAY, row["id"], row["secrets"], text))
    return done


async def _webhooks(keyring: Keyring) -> int:
    done = 0
    while stale := await fetch(_STALE_WEBHOOKS, keyring.newest):
        for row in stale:
            blob = json_of(row["outcome"])["token"]["secret"]
            sealed = _anew(keyring, blob, owner=token_owner(row["id"]), field="token")
            done += len(await fetch(_RESEAL_WEBHOOK, row["id"], row["outcome"], sealed))
    return done


async def _endpoints(keyring: Keyring) -> int:
    done = 0
    while stale := await fetch(_STALE_ENDPOINTS, keyring.newest):
        for row in stale:
            owner = secret_owner(row["id"])
            known = row["secret"], row["previous_secret"]
            sealed = [blob and _anew(keyring, blob, owner=owner, field="secret") for blob in known]
            done += len(await fetch(_RESEAL_ENDPOINT, row["id"], *known, *sealed))
    return done


async def _code_generators(keyring: Keyring) -> int:
    done = 0
    while stale := await fetch(_STALE_STAFF, keyring.newest):
        for row in stale:
            sealed = onetime.seal(
                keyring, row["id"], onetime.unseal(keyring, row["id"], row["totp"])
            )
            done += len(await fetch(_RESEAL_STAFF, row["id"], row["totp"], sealed))
    return done


async def _uploads(keyring: Keyring) -> int:
    done = 0
    while stale := await fetch(_STALE_UPLOAD, f"{keyring.newest}:".encode()):
        [row] = stale
        done += len(
            await fetch(_RESEAL_UPLOAD, row["id"], anew(keyring, row["id"], row["content"]))
        )
    return done


def _anew(keyring: Keyring, blob: str, *, owner: str, field: str) -> str:
    opened = keyring.unseal(blob, owner=owner, field=field)
    return keyring.seal(opened, owner=owner, field=field)
