"""The page in a real Chromium: what it shows, what hostile events can do to it (nothing), and what the token is for.

Set AUDITSINK_PICTURES to a directory to have screenshots written there.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from corpus import HEAD, TAIL
from running import PATIENCE, POLL, Sink
from stage import ADMIN_TOKEN, post_recorded, staged

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: pip install playwright")

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PICTURES = os.environ.get("AUDITSINK_PICTURES")
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202edenwo\x1b[2J\u200b"
)
SIZES = {"desktop": (1280, 900), "phone": (390, 800)}


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    async with playwright.async_playwright() as driver:
        found = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        await found.close()


class Page:
    """A tab on the sink's page; it must not complain about anything."""

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


async def opened(browser: Any, sink: Sink, size: str = "desktop", scheme: str = "light") -> Page:
    width, height = SIZES[size]
    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
    page = Page(await context.new_page())
    await page.tab.goto(sink.admin + "/")
    await page.tab.wait_for_selector("#destinations li")
    return page


async def with_token(page: Page, token: str = ADMIN_TOKEN) -> None:
    await page.tab.fill("#token-input", token)
    await page.tab.click("#token-form button[type=submit]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_the_page_shows_the_flow_as_it_is(browser: Any, tmp_path: Path, size: str, scheme: str) -> None:
    async with staged(tmp_path) as sink:
        await post_recorded(sink)
        page = await opened(browser, sink, size, scheme)
        await page.until("document.querySelectorAll('#destinations .pill.bad').length === 1")
        verdict = await page.text("#verdict")
        assert "backup takes nothing since" in verdict
        assert "auditsink check --connect" in verdict
        names = await page.tab.locator("#destinations h3").all_inner_texts()
        assert names == ["backup", "lake", "siem", "archive"]  # the worst first
        cards = await page.text("#destinations")
        for words in (
            "siem",
            "archive",
            "lake",
            "backup",
            "trying again",
            "needs you",
            "Paused, because",
            "Invalid token",
        ):
            assert words in cards
        assert await page.tab.get_attribute("#ring svg", "aria-label")
        assert await page.tab.locator("#charts figure").count() == 6
        assert (await page.text("#cluster-table tbody")).count("prod-") == 2
        # Nothing is wider than the screen but what scrolls by itself.
        assert await page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if PICTURES:
            await page.tab.screenshot(path=Path(PICTURES) / f"page-{size}-{scheme}.png", full_page=True)
        assert not page.complaints


async def test_the_tail_follows_filters_and_opens_events(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        page = await opened(browser, sink)
        await page.tab.click("#tail-start")
        await page.until("document.querySelector('#tail-note').textContent.includes('admin token')")
        await with_token(page)
        await page.tab.evaluate("document.querySelector('#tail').scrollIntoView()")
        await page.tab.fill("#tail-filters input[name=verb]", "delete patch")
        await page.tab.click("#tail-start")
        await page.until("document.querySelector('#tail-note').textContent.startsWith('listening')")
        await post_recorded(sink, every=3)
        await page.tab.wait_for_selector("#tail-lines details")
        verbs = await page.tab.locator("#tail-lines .verb").all_inner_texts()
        assert set(verbs) <= {"delete", "patch"}
        await page.tab.click("#tail-lines summary")
        await page.until("document.querySelector('#tail-lines pre')?.textContent.includes('auditID')")
        json.loads(await page.text("#tail-lines pre"))
        await page.tab.click("#tail-stop")
        await page.until("document.querySelector('#tail-note').textContent.startsWith('stopped')")
        assert [text for text in page.complaints if "401" not in text] == []


async def test_the_tail_starts_by_itself_and_waits_while_it_is_scrolled(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path, token=False) as sink:
        await post_recorded(sink)
        page = await opened(browser, sink)
        await page.tab.evaluate("document.querySelector('#tail').scrollIntoView()")
        await page.until("document.querySelectorAll('#tail-lines li').length === 50")
        edges = """[...new Set([...document.querySelectorAll('#tail-lines .user')]
            .map((one) => Math.round(one.getBoundingClientRect().left)))].length"""
        assert await page.tab.evaluate(edges) == 1  # a column is one
        assert await page.text("#tail-lines .source")
        await page.tab.evaluate("document.querySelector('#tail-lines').scrollTop = 300")
        await post_recorded(sink, "batch50-request-h2tls", every=8)
        await page.tab.wait_for_selector("#tail-newest:not([hidden])")
        assert await page.tab.locator("#tail-lines li").count() == 50
        await page.tab.click("#tail-newest")
        await page.until("document.querySelectorAll('#tail-lines li').length > 50")
        assert await page.tab.is_hidden("#tail-newest")
        assert not page.complaints


async def test_hostile_events_neither_run_nor_turn_the_page_round(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        event = {
            "level": "Request", "auditID": HOSTILE, "stage": "ResponseComplete", "verb": HOSTILE, "requestURI": HOSTILE,
            "user": {"username": HOSTILE}, "objectRef": {"resource": HOSTILE, "namespace": HOSTILE, "name": HOSTILE},
            "responseStatus": {"code": 200}, "requestObject": {HOSTILE: "</pre></details>" + HOSTILE},
        }  # fmt: skip
        page = await opened(browser, sink)
        await with_token(page)
        await page.tab.click("#tail-start")
        await sink.post(HEAD + json.dumps(event, ensure_ascii=False).encode() + TAIL, "/prod-eu")
        await page.tab.wait_for_selector("#tail-lines details")
        await page.tab.click("#tail-lines summary")
        await page.until("document.querySelector('#tail-lines pre')?.textContent.includes('</details>')")
        assert await page.tab.title() != "owned"
        assert await page.tab.locator("#tail-lines script, #tail-lines img").count() == 0
        shown = await page.tab.text_content("#tail-lines")
        assert "<script>" in shown
        assert "⟨U+202E⟩" in shown
        assert not {"\u202e", "\x1b", "\u200b"} & set(shown)
        assert not page.complaints


async def test_the_policy_stops_what_the_page_would_not_do(browser: Any, tmp_path: Path) -> None:
    """Were there a hole in the page, the browser would hold."""
    async with staged(tmp_path) as sink:
        page = await opened(browser, sink)
        tried = (
            "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'took it'; } catch (e) { return e.name; } })()"
        )
        assert await page.tab.evaluate(tried) == "TypeError"
        inline = (
            "(() => { const s = document.createElement('script'); s.setAttribute('src', 'data:text/javascript,1'); })()"
        )
        with pytest.raises(playwright.Error, match=r"TrustedScriptURL|Trusted"):
            await page.tab.evaluate(inline)


async def test_dead_letters_are_listed_replayed_and_dropped(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        await post_recorded(sink)
        await sink.until(lambda status: status["destinations"][0]["pending"] == 0)
        page = await opened(browser, sink)
        await with_token(page)
        await page.tab.wait_for_selector("#letters-list summary")
        count = int((await page.text("#letters-list .note")).split()[0])
        assert count > 0

        async def open_the_newest() -> None:
            await page.tab.click("#letters-list .group > details > summary")
            await page.tab.click("#letters-list .letter .letter summary")

        await open_the_newest()
        await page.tab.click("#letters-list .letter .letter button:has-text('Replay')")
        await page.until("document.querySelector('#letters-note').textContent.startsWith('Delivered 0 of 1')")
        page.tab.on("dialog", lambda dialog: dialog.accept())
        await open_the_newest()
        await page.tab.click("#letters-list .letter .letter button:has-text('Drop')")
        await page.until("document.querySelector('#letters-note').textContent === 'Dropped 1.'")
        assert int((await page.text("#letters-list .note")).split()[0]) == count - 1
        # One reason, one button: of a cluster, or all that is left.
        await page.tab.select_option("#letters-list .group select", "prod-us")
        await page.tab.click("#letters-list .group button:has-text('Drop these')")
        await page.until(f"document.querySelector('#letters-note').textContent === 'Dropped {count // 3}.'")
        await page.tab.click("#letters-list .group button:has-text('Replay these')")
        await page.until("document.querySelector('#letters-note').textContent.startsWith('Delivered 0 of')")
        assert not page.complaints


async def test_without_a_token_nothing_can_be_changed(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path, token=False) as sink:
        await post_recorded(sink)
        await sink.until(lambda status: status["destinations"][0]["pending"] == 0)
        page = await opened(browser, sink)
        await page.tab.wait_for_selector("#letters-list button")
        assert await page.tab.is_hidden("#token")
        assert await page.tab.locator("#letters-list button:not([disabled])").count() == 0
        foreign = {"Host": "evil.example", "Content-Type": "application/json"}
        async with aiohttp.ClientSession() as session:
            async with session.get(sink.admin + "/tail?last=1", headers=foreign) as answer:
                assert answer.status == 421
            async with session.post(sink.admin + "/letters/drop", json={"destination": "siem", "ids": None}) as answer:
                assert answer.status == 403


async def test_the_keyboard_reaches_everything_and_everything_has_a_name(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        page = await opened(browser, sink)
        nameless = """[...document.querySelectorAll('a, button, input, svg[role=img], section, table, pre')]
            .filter((one) =>
            !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.labels?.length
              || one.textContent.trim())).map((one) => one.outerHTML)"""
        assert await page.tab.evaluate(nameless) == []
        reached = set()
        for _ in range(60):
            await page.tab.keyboard.press("Tab")
            reached.add(await page.tab.evaluate("document.activeElement.id || document.activeElement.name || ''"))
        for wanted in ("span-fine", "cluster-search", "token-input", "verb", "tail-start", "letters-load"):
            assert wanted in reached


async def test_refusals_say_why_since_when_and_by_whom(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        for _ in range(3):
            assert (await sink.post(b'{"kind":"Pod"}', "/prod-eu"))[0] == 400
        page = await opened(browser, sink)
        rows = await page.text("#refusal-table tbody")
        for words in ("now", "not_an_event_list", "127.0.0.1 x 3", "EventList"):
            assert words in rows
        assert str(await page.tab.get_attribute("#refusal-table time", "title")).endswith(" UTC")


async def test_a_sink_that_goes_away_is_told_and_found_again(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        page = await opened(browser, sink)
        await page.until("document.querySelector('#connection').textContent === 'live'")
        await sink.stop()
        await page.until("document.querySelector('#connection').textContent.includes('does not answer')")
        assert "gone" in str(await page.tab.get_attribute("body", "class"))
        assert "bad" in str(await page.tab.get_attribute("#verdict", "class"))
        assert "All below is as it was" in await page.text("#verdict-more")
