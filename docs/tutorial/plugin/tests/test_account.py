"""A wrong setting is found before anybody pays."""

from dusangire.testing import Stand


async def test_a_right_account_is_accepted(stand: Stand) -> None:
    report = await stand.plugin.test_gateway(stand.gateway)

    assert report.ok, report.message


async def test_a_wrong_secret_is_named(stand: Stand) -> None:
    stranger = stand.elsewhere(wrong_secrets=True, forget_tokens=True)

    report = await stand.plugin.test_gateway(stranger)

    assert not report.ok
    assert "client_secret" in report.message
