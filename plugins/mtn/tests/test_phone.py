"""The simulator's phone, in a real browser: a person approves and declines prompts."""

import shutil
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Page, async_playwright, expect

from dusangire.gateway import Attempt
from dusangire.testing.rig import Simulated

NewAttempt = Callable[..., Attempt]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on PATH"),
]


@pytest.fixture
async def page(momo: Simulated) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = await browser.new_page()
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        await page.goto(f"{momo.url}/")
        yield page
        await browser.close()
        assert troubles == []


@pytest.mark.parametrize(
    ("button", "status", "shown"),
    [("Approve", "SUCCEEDED", "succeeded"), ("Decline", "FAILED", "APPROVAL_REJECTED")],
)
async def test_a_person_answers_the_prompt(
    momo: Simulated, page: Page, new_attempt: NewAttempt, button: str, status: str, shown: str
) -> None:
    await momo.tell("settings", mode="manual", scale=1)
    attempt = new_attempt(description="<b>Order</b> 1042")
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    prompt = page.locator(".prompt")
    await expect(prompt).to_contain_text("Pay 1,500 RWF?")
    await expect(prompt).to_contain_text("Ends by itself in 300 s.")
    await prompt.get_by_role("button", name=button).click()
    await expect(page.locator("#recent li")).to_contain_text(shown)

    await expect(page.locator("#idle")).to_be_visible()
    assert (await momo.transaction(attempt.reference))["status"] == status


async def test_a_prompt_decides_itself_unless_told_to_wait(
    momo: Simulated, page: Page, new_attempt: NewAttempt
) -> None:
    await momo.tell("settings", scale=0.4)
    await momo.plugin.initiate_payment(momo.gateway, new_attempt())
    await expect(page.locator(".prompt")).to_contain_text("Ends by itself in")
    await expect(page.locator("#recent li")).to_contain_text("succeeded")

    await page.get_by_label("Wait for me").check()
    await expect(page.get_by_label("Wait for me")).to_be_checked()
    await momo.plugin.initiate_payment(momo.gateway, new_attempt())

    await expect(page.locator(".prompt")).to_contain_text("Ends by itself in 120 s.")


async def test_hostile_text_stays_text(
    momo: Simulated, page: Page, new_attempt: NewAttempt
) -> None:
    await momo.tell("settings", outcomes={"1500": "<img src=x onerror=window.__x=1>"})
    await momo.plugin.initiate_payment(momo.gateway, new_attempt())

    await expect(page.locator("#recent li")).to_contain_text("<img src=x")

    assert await page.evaluate("window.__x") is None
