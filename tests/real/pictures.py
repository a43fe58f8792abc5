"""Makes the documentation's pictures from a running sink: `PYTHONPATH=tests python tests/real/pictures.py docs/img`.

Needs playwright and a Chromium, like the tests beside it. Takes about two minutes: curves need their time.
"""

import asyncio
import contextlib
import os
import pty
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import async_playwright
from running import COMMAND, Sink
from stage import ADMIN_TOKEN, post_recorded, staged

SECONDS = 75
COLOURS = {
    "1": "font-weight:bold",
    "2": "color:#9aa5b1",
    "31": "color:#ff8b98",
    "32": "color:#6fd394",
    "33": "color:#f0b84c",
}
_PICTURES: tuple[tuple[str, Literal["light", "dark"], tuple[int, int]], ...] = (
    ("page", "light", (1040, 860)),
    ("page-dark", "dark", (1040, 860)),
    ("phone", "light", (390, 1300)),
)
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


async def main(place: Path) -> None:
    """All of them."""
    with tempfile.TemporaryDirectory() as directory:
        async with staged(Path(directory)) as sink, async_playwright() as driver:
            browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            traffic = asyncio.create_task(post_slowly(sink))
            for name, scheme, size in _PICTURES:
                page = await browser.new_page(color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
                await page.goto(sink.admin + "/")
                await asyncio.sleep(SECONDS / 3)
                await page.screenshot(path=place / f"{name}.png")
                if name == "page":
                    await page.fill("#token-input", ADMIN_TOKEN)
                    await page.click("#token-form button[type=submit]")
                    await page.fill("#tail-filters input[name=user]", "!system:*")
                    await page.click("#tail-start")
                    await asyncio.sleep(2)
                    await page.click("#tail-stop")
                    await page.click("#tail-lines li:nth-child(3) summary")
                    await asyncio.sleep(1)
                    await page.set_viewport_size({"width": 860, "height": 620})
                    await page.locator("#tail").evaluate("one => one.scrollIntoView({behavior: 'instant'})")
                    await page.screenshot(path=place / "tail.png")
                await page.close()
            await destination(browser, sink, place / "destination.png")
            token = ["--token-file", str(Path(directory) / "admin-token")]
            await picture(browser, place / "status-watch.png", ["status", "--watch", "--url", sink.admin], 9)
            await picture(
                browser,
                place / "tail-shell.png",
                ["tail", "-n", "14", "--user", "!system:*", "--url", sink.admin, *token],
                4,
            )
            traffic.cancel()
            await browser.close()


async def destination(browser: Any, sink: Sink, path: Path) -> None:
    """The page of one of them, its dead letters, and the line over its charts."""
    page = await browser.new_page(color_scheme="light", viewport={"width": 1040, "height": 1560})
    await page.goto(f"{sink.admin}/#destination/siem")
    await page.fill("#token-input", ADMIN_TOKEN)
    await page.click("#token-form button[type=submit]")
    await page.wait_for_selector("#letters-list .group")
    await page.locator("#charts svg").nth(1).hover(position={"x": 180, "y": 60})
    await page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    await page.screenshot(path=path, full_page=True)
    await page.close()


async def post_slowly(sink: Sink) -> None:
    """As apiservers do: a little, again and again."""
    for name in (
        "batch50-request-h2tls",
        "batch-default-mixed-http",
        "batch100-metadata-mtls-h2",
        "big-untruncated-http",
    ):
        await post_recorded(sink, name, pause=0.4)


async def picture(browser: Any, path: Path, arguments: list[str], seconds: float) -> None:
    """What a command draws on a terminal of 118 columns, as it stands after some seconds."""
    screen = await asyncio.to_thread(on_a_terminal, [*COMMAND, *arguments], seconds)
    page = await browser.new_page(viewport={"width": 1000, "height": 300})
    await page.set_content(
        f"<pre style='background:#101418;color:#e6eaee;font:13px DejaVu Sans Mono;padding:12px'>{screen}</pre>"
    )
    await page.locator("pre").screenshot(path=path)
    await page.close()


def on_a_terminal(command: list[str], seconds: float) -> str:
    """The last screen of a command, as HTML."""
    main, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "118", "LINES": "34", "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    os.set_blocking(main, False)
    content = b""
    for _ in range(int(seconds * 10)):
        with contextlib.suppress(OSError):
            content += os.read(main, 2**20)
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    process.terminate()
    process.wait()
    os.close(main)
    last = content.decode().rpartition("\x1b[H")[2].split("\x1b[?25h")[0]
    text = escape(re.sub(r"\x1b\[[KJ]", "", last).replace("\r", ""), quote=False)
    return re.sub(
        r"\x1b\[(\d+)m(.*?)\x1b\[0m", lambda found: f"<span style='{COLOURS[found[1]]}'>{found[2]}</span>", text
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
