"""The page in a real Chromium: what it shows, what hostile events can do to it (nothing), and what the token is for.

Set AUDITSINK_PICTURES to a directory to have screenshots written there.
"""

import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from browsing import SIZES, Page, opened, with_token
from corpus import HEAD, TAIL
from running import Sink
from stage import post_recorded, staged

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: pip install playwright")

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PICTURES = os.environ.get("AUDITSINK_PICTURES")
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202edenwo\x1b[2J\u200b"
)


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    async with playwright.async_playwright() as driver:
        found = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        await found.close()


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
        for wanted in ("span-fine", "charts", "cluster-search", "token-input", "verb", "tail-start", "letters-load"):
            assert wanted in reached


@pytest.mark.parametrize("size", SIZES)
async def test_each_destination_has_a_page_with_a_link(browser: Any, tmp_path: Path, size: str) -> None:
    async with staged(tmp_path) as sink:
        await post_recorded(sink)
        await sink.until(lambda status: status["destinations"][0]["pending"] == 0)
        page = await opened(browser, sink, size)
        await page.tab.click("#destinations a:has-text('siem')")
        await page.until("location.hash === '#destination/siem' && document.activeElement.id === 'destination'")
        assert "siem" in await page.tab.title()
        shown = """[...document.querySelectorAll('main > section')]
            .filter((one) => one.offsetHeight).map((one) => one.id)"""
        order = ["verdict", "destination", "history", "clusters", "token", "letters"]
        if size == "phone":
            order = ["verdict", "destination", "clusters", "history", "token", "letters"]
        assert await page.tab.evaluate(shown) == order
        await page.until("document.querySelector('#destination').textContent.includes('siem refused')")
        assert "refused" in await page.text("#destination .pill")  # and not "all delivered"
        own = await page.text("#destination")
        assert "auditsink deadletter replay --destination siem" in own
        assert "None since the start." in own
        await with_token(page)
        await page.tab.wait_for_selector("#letters-list button:has-text('Replay these'):not([disabled])")
        assert await page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if PICTURES:
            await page.tab.screenshot(path=Path(PICTURES) / f"destination-{size}.png", full_page=True)
        # Another one has errors, and no dead letters; the link alone leads there.
        await page.tab.click("#others a:has-text('backup')")
        await page.until("document.querySelector('#destination h2').textContent === 'backup'")
        row = await page.text("#destination tbody tr")
        assert row.startswith("now Splunk answered HTTP 403, code 4 (Invalid token)")
        assert str(await page.tab.get_attribute("#destination tbody time", "title")).endswith(" UTC")
        assert "There are none of backup." in await page.text("#letters-list")
        shared = await opened(browser, sink, size, link="#destination/backup")
        assert await shared.text("#destination h2") == "backup"
        await shared.tab.click("#others a:has-text('All of the sink')")
        await shared.until("document.querySelector('#flow').offsetHeight > 0")
        assert not page.complaints
        assert not shared.complaints


async def test_a_link_to_no_destination_says_so_and_runs_nothing(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        for link in ("#destination/" + quote(HOSTILE), "#destination/%ff", "#<img src=x onerror=alert(1)>"):
            page = await opened(browser, sink, link="#destination/siem")
            await page.tab.evaluate(f"location.hash = {json.dumps(link)}")
            if link.startswith("#destination/"):
                await page.until("document.querySelector('#destination').textContent.includes('No destination has')")
                assert await page.tab.locator("#destination script, #destination img").count() == 0
            else:
                await page.until("document.querySelector('#flow').offsetHeight > 0")
            assert not {"\u202e", "\x1b", "\u200b"} & set(await page.tab.title())
            assert not page.complaints


async def test_charts_have_axes_and_one_line_over_all_of_them(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path) as sink:
        page = await opened(browser, sink)
        await post_recorded(sink, every=2)
        await page.until("document.querySelectorAll('#charts figure').length >= 4")
        titles = await page.tab.locator("#charts h3").all_inner_texts()
        assert titles[:3] == ["Events a second", "Pending events", "Lag"]
        assert "Refused requests a second" not in titles  # all of it is zero
        assert "refused requests a second" in await page.text("#charts-flat")
        numbers = await page.tab.locator("#charts svg").nth(1).locator("text").all_text_contents()
        assert numbers[0] == "0"
        assert len(numbers) >= 4  # three of events, one of the time
        lines = "[...document.querySelectorAll('#charts svg > g')].map((one) => one.getAttribute('visibility'))"
        assert set(await page.tab.evaluate(lines)) == {"hidden"}
        await page.tab.locator("#charts svg").nth(1).hover(position={"x": 200, "y": 50})
        assert set(await page.tab.evaluate(lines)) == {"visible"}
        assert re.fullmatch(r"at \d\d:\d\d:\d\d GMT\+5:30", await page.text("#charts-at"))
        ends = "[...new Set([...document.querySelectorAll('.cross')].map((one) => one.getAttribute('x1')))].length"
        assert await page.tab.evaluate(ends) == 1
        await page.tab.mouse.move(5, 5)
        assert set(await page.tab.evaluate(lines)) == {"hidden"}
        await page.tab.focus("#charts")
        await page.tab.keyboard.press("ArrowLeft")
        assert set(await page.tab.evaluate(lines)) == {"visible"}
        said = str(await page.tab.text_content("#charts-said"))
        assert "Pending events: " in said
        assert "backup" in said
        await page.tab.keyboard.press("Escape")
        assert set(await page.tab.evaluate(lines)) == {"hidden"}
        assert not page.complaints


@pytest.mark.parametrize("size", SIZES)
async def test_all_of_many_clusters_can_be_reached(browser: Any, tmp_path: Path, size: str) -> None:
    destinations = [{"name": "lake", "type": "http", "url": "http://127.0.0.1:9/"}]
    receive, spool = {"max_clusters": 200}, {"max_bytes": "256MiB"}
    async with Sink(tmp_path, destinations, receive=receive, spool=spool) as sink:
        event = b'{"level":"Metadata","auditID":"%d","stage":"ResponseComplete","verb":"get"}'
        for number in range(110):  # more than a live document has
            assert (await sink.post(HEAD + event % number + TAIL, f"/shoot--{number:03}"))[0] == 200
        page = await opened(browser, sink, size)
        few = 5 if size == "phone" else 20
        assert await page.text("#cluster-note") == f"{few} of 110 clusters"
        await page.tab.click("#cluster-all")
        await page.until("document.querySelectorAll('#cluster-table tbody tr').length === 110")
        await page.tab.click("#cluster-table th button:has-text('Cluster')")
        assert await page.text("#cluster-table tbody th") == "shoot--000"
        await page.tab.click("#cluster-all")
        await page.tab.click("#cluster-table th button:has-text('Cluster')")
        await page.until("document.querySelector('#cluster-table tbody th').textContent === 'shoot--109'")
        await page.tab.fill("#cluster-search", "T--00")
        await page.until("document.querySelector('#cluster-note').textContent.includes('of 10 found')")
        above = "document.querySelector('#clusters').offsetTop < document.querySelector('#flow').offsetTop"
        assert await page.tab.evaluate(above) is (size == "phone")
        assert await page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not page.complaints


async def test_a_full_ring_is_red_and_so_is_the_verdict(browser: Any, tmp_path: Path) -> None:
    destinations = [{"name": "lake", "type": "http", "url": "http://127.0.0.1:9/"}]
    async with Sink(tmp_path, destinations, spool={"max_bytes": "4MiB", "segment_bytes": "1MiB"}) as sink:
        event = b'{"level":"Request","auditID":"%d","stage":"ResponseComplete","verb":"get","requestObject":"%b"}'
        for number in range(40):
            code, _ = await sink.post(HEAD + event % (number, os.urandom(200_000).hex().encode()) + TAIL)
            if code == 503:
                break
        assert code == 503
        page = await opened(browser, sink)
        await page.tab.wait_for_selector("#ring svg.bad-ring")
        assert "FULL" in await page.text("#ring")
        red = "getComputedStyle(document.querySelector('#ring .wanted')).stroke"
        assert await page.tab.evaluate(red) == "rgb(179, 18, 42)"
        assert (await page.text("#verdict-text")).startswith("Batches are refused since")
        assert (await page.text("#verdict-text")).count("GMT+5:30") == 1
        if PICTURES:
            await page.tab.screenshot(path=Path(PICTURES) / "full.png", full_page=True)
        assert not page.complaints


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


async def test_a_spool_that_says_no_limit_is_an_empty_ring(browser: Any, tmp_path: Path) -> None:
    async with staged(tmp_path, token=False) as sink:
        status = await sink.status()
        status["spool"] |= {"bytes": 0, "wanted_bytes": 0, "max_bytes": 0}
        page = Page(await (await browser.new_context()).new_page())
        await page.tab.route("**/stream", lambda asked: asked.abort())
        await page.tab.route("**/status", lambda asked: asked.fulfill(json=status))
        await page.tab.goto(sink.admin + "/")
        await page.tab.wait_for_selector("#ring svg")
        assert "NaN" not in await page.tab.inner_html("#ring")
        assert [text for text in page.complaints if "ERR_FAILED" not in text] == []
