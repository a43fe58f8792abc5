"""A browser's tab on the sink's page, which must not complain of anything, and the token given to it."""

import asyncio
from typing import Any

from running import PATIENCE, POLL, Sink
from stage import ADMIN_TOKEN

SIZES = {"desktop": (1280, 900), "phone": (390, 800)}


class Page:
    """What a test does in the tab; `complaints` is what its console and its scripts said."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        tab.on("console", lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None)
        tab.on("pageerror", lambda problem: self.complaints.append(str(problem)))

    async def until(self, expression: str) -> None:
        """Return when it is true. Not `wait_for_function`, which evaluates text in the page, and the policy forbids."""
        async with asyncio.timeout(PATIENCE):
            while not await self.tab.evaluate(expression):  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(POLL)

    async def text(self, selector: str) -> str:
        return str(await self.tab.inner_text(selector))


async def opened(browser: Any, sink: Sink, size: str = "desktop", scheme: str = "light", link: str = "") -> Page:
    width, height = SIZES[size]
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, timezone_id="Asia/Kolkata"
    )
    page = Page(await context.new_page())
    await page.tab.goto(f"{sink.admin}/{link}")
    await page.tab.wait_for_selector("#destination-body > *" if link else "#destinations li")
    return page


async def with_token(page: Page, token: str = ADMIN_TOKEN) -> None:
    await page.tab.fill("#token-input", token)
    await page.tab.click("#token-form button[type=submit]")
