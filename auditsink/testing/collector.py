"""An HTTP collector for tests: takes NDJSON, a JSON array or an EventList, or answers by script.

async with Collector(script=[Reply(503), None]) as collector:
...  # point the sink at collector.url: the first request is told to come again, the second one is taken
collector.events[0]  # the bytes of the first event, as they arrived
"""

import ssl
from collections.abc import Callable, Iterable

import msgspec

from auditsink.testing.json_cut import check, items, members
from auditsink.testing.scripted import Received, Reply, ScriptedServer


class _PostedList(msgspec.Struct):
    items: list[msgspec.Raw]


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_event_list = msgspec.json.Decoder(_PostedList).decode


def documents(content_type: str, body: bytes) -> list[bytes]:
    """The raw bytes of each event in a body. Raises ValueError if it is not what the content type says."""
    if content_type == "application/x-ndjson":
        if body and not body.endswith(b"\n"):
            raise ValueError("the last line is not complete")
        return body.split(b"\n")[:-1]
    body.decode()
    is_list = body.startswith(b"[")
    try:
        return [bytes(one) for one in (_decode_list(body) if is_list else _decode_event_list(body).items)]
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, RecursionError):
        check(body)
        return items(body if is_list else members(body, 0)[0].get(b"items", b""), 0)[0]


class Collector(ScriptedServer):
    """See the module. `events` is what was taken, in order; repeats are there twice."""

    def __init__(
        self,
        *,
        script: Iterable[Reply | None] = (),
        authorization: str | None = None,
        max_body: int = 10_000_000,
        refuse: Callable[[bytes], bool] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`authorization`: the header's value without which the answer is 401. `refuse`: which event makes it 400."""
        super().__init__(script=script, tls=tls)
        self.authorization = authorization
        self.events: list[bytes] = []
        self._max_body = max_body
        self._refuse = refuse

    async def respond(self, request: Received) -> Reply:
        """Take all events of the request or none."""
        if self.authorization is not None and request.headers.get("authorization") != self.authorization:
            return Reply(401)
        if request.method != "POST":
            return Reply(405)
        if len(request.body) > self._max_body:
            return Reply(413)
        try:
            found = documents(request.headers.get("content-type", ""), request.body)
        except ValueError:
            return Reply(400)
        if self._refuse is not None and any(self._refuse(event) for event in found):
            return Reply(400)
        self.events += found
        # A list of events gets the answer of an auditsink; whoever takes lines says nothing.
        return Reply(200, b'{"accepted":%d}' % len(found)) if request.body.startswith(b'{"kind"') else Reply(200)

    def take(self, request: Received) -> None:
        """Keep the events although the script answers."""
        self.events += documents(request.headers.get("content-type", ""), request.body)
