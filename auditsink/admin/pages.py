"""The page's files, served from a table of names: no path of a request ever meets the file system."""

from functools import lru_cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "axis.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "destination.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "flow.js": "text/javascript; charset=utf-8",
    "clusters.js": "text/javascript; charset=utf-8",
    "json.js": "text/javascript; charset=utf-8",
    "letters.js": "text/javascript; charset=utf-8",
    "tail.js": "text/javascript; charset=utf-8",
    "refusals.js": "text/javascript; charset=utf-8",
    "time.js": "text/javascript; charset=utf-8",
    "verdict.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
}
"""Every file of `auditsink/admin/page/` and its type."""


@lru_cache
def content(name: str) -> bytes:
    """The bytes of one of `FILES`."""
    return resources.files("auditsink.admin").joinpath("page", name).read_bytes()


async def index(_: Request) -> Response:
    """The page."""
    return _answer("index.html")


async def file(request: Request) -> Response:
    """What the page loads."""
    name = request.path_params["name"]
    return _answer(name) if name in FILES else Response("there is no such file\n", 404, media_type="text/plain")


def _answer(name: str) -> Response:
    return Response(content(name), headers={"Content-Type": FILES[name]})
