"""A small S3 server that keeps to the protocol, and misbehaves as it is told: rights, room, conditions, garbage."""

import itertools
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from auditsink.testing.scripted import Received, Reply, ScriptedServer

BUCKET = "small"
PAGE = 1000
_KEY = re.compile(rb"<Key>([^<]+)</Key>")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)\Z")


class Stored(NamedTuple):
    content: bytes
    at: datetime


def refusal(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    """An error of S3; the message is never to be seen."""
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>CANARY</Message></Error>'
    return Reply(status, text.encode(), {"Content-Type": "application/xml", **(headers or {})})


class SmallStore(ScriptedServer):
    """`denied`: of list, write, read, delete. `room`: bytes that it takes. `refuses`: its answer to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Stored] = {}
        self.denied: set[str] = set()
        self.room: int | None = None
        self.conditions = True
        self.refuses: Reply | None = None
        self.instead: dict[str, Reply] = {}
        """Its answer to a read of some objects."""
        self.deletes = True
        """Whether what it says it has deleted is deleted."""
        self.slow = 0.0
        """Seconds for each answer."""

    @property
    def used(self) -> int:
        """Bytes of all objects."""
        return sum(len(one.content) for one in self.objects.values())

    def names(self, directory: str) -> list[str]:
        """Of the objects in a directory of a copy."""
        return [name for name in sorted(self.objects) if f"/{directory}/" in name]

    async def respond(self, request: Received) -> Reply:
        """As S3 does."""
        reply = self.refuses or self.instead.get(request.path.partition("/small/")[2]) or self._reply(request)
        return Reply(reply.status, reply.body, reply.headers, delay=self.slow)

    def _reply(self, request: Received) -> Reply:
        parts = urlsplit(request.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        bucket, _, name = unquote(parts.path).removeprefix("/").partition("/")
        if bucket != BUCKET:
            return refusal(404, "NoSuchBucket")
        if request.method == "PUT":
            return self._put(name, request)
        if request.method == "POST":
            return self._delete([unquote(key.decode()) for key in _KEY.findall(request.body)])
        return self._list(query) if "list-type" in query else self._get(name, request)

    def _put(self, name: str, request: Received) -> Reply:
        if "write" in self.denied:
            return refusal(403, "AccessDenied")
        if self.conditions and request.headers.get("if-none-match") == "*" and name in self.objects:
            return refusal(412, "PreconditionFailed")
        if self.room is not None and self.used + len(request.body) > self.room:
            return refusal(507, "XMinioStorageFull")
        self.objects[name] = Stored(request.body, datetime.now(UTC))
        return Reply(200, headers={"ETag": f'"{_etag(request.body)}"'})

    def _get(self, name: str, request: Received) -> Reply:
        head = request.method == "HEAD"
        if "read" in self.denied:
            return Reply(403) if head else refusal(403, "AccessDenied")
        found = self.objects.get(name)
        if found is None:
            return Reply(404) if head else refusal(404, "NoSuchKey")
        headers = {"ETag": f'"{_etag(found.content)}"', "Last-Modified": format_datetime(found.at, usegmt=True)}
        if head:
            return Reply(200, found.content, headers)
        wanted = _RANGE.match(request.headers.get("range", ""))
        if wanted is None:
            return Reply(200, found.content, headers)
        first, last = int(wanted[1]), min(int(wanted[2]), len(found.content) - 1)
        if first > last:
            return refusal(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(found.content)}"
        return Reply(206, found.content[first : last + 1], headers)

    def _list(self, query: dict[str, list[str]]) -> Reply:
        if "list" in self.denied:
            return refusal(403, "AccessDenied")
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        names = sorted(name for name in self.objects if name.startswith(query["prefix"][0]) and name > after)
        page = list(itertools.islice(names, PAGE))
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>{self.objects[name].at.isoformat()}</LastModified>"
            f"<Size>{len(self.objects[name].content)}</Size></Contents>"
            for name in page
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(names) > len(page) else ""
        cut = str(bool(more)).lower()
        text = f"<ListBucketResult><IsTruncated>{cut}</IsTruncated>{rows}{more}</ListBucketResult>"
        return Reply(200, text.encode(), {"Content-Type": "application/xml"})

    def _delete(self, names: list[str]) -> Reply:
        """S3 answers 200 to several, and tells of each whether it may be deleted."""
        if "delete" in self.denied:
            rows = "".join(
                f"<Error><Key>{escape(name)}</Key><Code>AccessDenied</Code><Message>CANARY</Message></Error>"
                for name in names
            )
        else:
            for name in names if self.deletes else ():
                self.objects.pop(name, None)
            rows = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
        return Reply(200, f"<DeleteResult>{rows}</DeleteResult>".encode(), {"Content-Type": "application/xml"})


def _etag(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()
