"""What gateways send: POST or PUT /webhooks/{gateway}/{token}."""

from dataclasses import dataclass

import structlog
from starlette.types import Receive, Scope, Send

from dusangire import inbox
from dusangire.core import Core
from dusangire.database import LOST
from dusangire.errors import NotFound, Retryable, WebhookRejected
from dusangire.gateway import Reply, WebhookRequest
from dusangire_server.http import TooLarge, read_body
from dusangire_server.metrics import Metrics

log = structlog.get_logger(__name__)

MAX_BODY = 256 * 1024


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The route, as an ASGI app. It answers 2xx only after the message is stored."""

    core: Core
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parameters = scope["path_params"]
        gateway, token = parameters["gateway"], parameters["token"]
        try:
            reply = await self._accept(scope, receive, gateway, token)
            # Only now is the name known to be one of ours, and not one of endless guesses.
            self.metrics.webhook(gateway, reply.status)
        except TooLarge:
            reply = Reply(status=413)
        except NotFound:
            reply = Reply(status=404)
        except WebhookRejected as rejected:
            self.metrics.webhook(gateway, rejected.status)
            reply = Reply(status=rejected.status)
        except (Retryable, *LOST):
            reply = Reply(status=503)
        except Exception:
            log.exception("webhook not accepted", gateway=gateway)
            reply = Reply(status=500)
        await _send(send, reply)

    async def _accept(self, scope: Scope, receive: Receive, gateway: str, token: str) -> Reply:
        body = await read_body(receive, MAX_BODY)
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        request = WebhookRequest(method=scope["method"], headers=headers, body=body)
        return await inbox.accept(self.core, gateway, token, request)


async def _send(send: Send, reply: Reply) -> None:
    empty = reply.status in {204, 304} or reply.status < 200
    headers = [(b"content-length", str(len(reply.body)).encode())] if not empty else []
    if reply.body and not empty:
        headers.append((b"content-type", reply.content_type.encode("latin-1")))
    if reply.status == 503:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if empty else reply.body})
