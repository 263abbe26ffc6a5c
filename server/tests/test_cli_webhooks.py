"""`dusangire webhooks`, as somebody at a terminal uses it: real processes."""

from server.tests.terminal import Terminal
from server.tests.test_cli import terminal

__all__ = ["terminal"]

NEAR = {"DUSANGIRE_LOOPBACK_WEBHOOKS": "yes"}


async def test_an_endpoint_from_its_first_day_to_its_last(terminal: Terminal) -> None:
    url = "http://127.0.0.1:9/hooks"
    made = await terminal.run(
        "webhooks", "create", url, "--event", "payment.*", "--event", "refund.*", "--json", **NEAR
    )
    id_ = made.json["id"]
    listed = await terminal.run("webhooks", "list", "--json")
    rotated = await terminal.run("webhooks", "rotate", id_, "--overlap-hours", "2")
    tested = await terminal.run("webhooks", "test", id_, "--json")
    sent = await terminal.run("webhooks", "deliveries", id_, "--json")
    again = await terminal.run("webhooks", "redeliver", tested.json["messageId"])
    failed = await terminal.run("webhooks", "redeliver", "--endpoint", id_, "--json")
    disabled = await terminal.run("webhooks", "disable", id_)
    shown = await terminal.run("webhooks", "list")
    enabled = await terminal.run("webhooks", "enable", id_, "--json")
    deleted = await terminal.run("webhooks", "delete", id_)
    gone = await terminal.run("webhooks", "enable", id_)

    assert (made.json["url"], made.json["events"]) == (url, ["payment.*", "refund.*"])
    assert made.json["secret"].startswith("whsec_")
    assert [one["id"] for one in listed.json] == [id_]
    assert made.json["secret"] not in listed.out
    assert rotated.out.startswith("whsec_")
    assert rotated.out.strip() != made.json["secret"]
    assert [(one["type"], one["status"]) for one in sent.json] == [("webhook.test", "PENDING")]
    assert again.status == 0
    assert failed.json == {"count": 0}
    assert disabled.err == f"{url} is switched off.\n"
    assert "Somebody switched it off." in shown.out
    assert enabled.json["enabled"] is True
    assert deleted.status == 0
    assert gone.status == 3


async def test_an_address_on_this_machine_needs_leave(terminal: Terminal) -> None:
    refused = await terminal.run("webhooks", "create", "http://127.0.0.1:9/")
    live = await terminal.run(
        "webhooks", "list", DUSANGIRE_ENVIRONMENT="live", DUSANGIRE_SECRET_KEYS="k1:x", **NEAR
    )

    assert (refused.status, refused.out) == (1, "")
    assert "must be https" in refused.err
    assert live.status == 1
    assert "DUSANGIRE_LOOPBACK_WEBHOOKS" in live.err


async def test_what_makes_no_sense_is_refused(terminal: Terminal) -> None:
    nothing = await terminal.run("webhooks", "redeliver")
    strange = await terminal.run("webhooks", "rotate", "nonsense")

    assert (nothing.status, strange.status) == (2, 3)
