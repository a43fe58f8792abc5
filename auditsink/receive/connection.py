"""One client's connection: requests out of the framer, bodies into the intake, answers back in order. The hot path.

One request at a time. What a client sends beyond it (pipelining) is kept, bounded, and reading pauses until the answer
is out. A refusal whose body is still on its way is either answered when the body was read and thrown away (503: the
client comes back on the same connection), or answered at once, and what follows is thrown away for a while before the
connection is closed: closing on unread bytes would make TCP throw away the answer as well (RFC 9112, 9.6).
"""

import asyncio
from enum import IntEnum

from auditsink.receive.admission import decide
from auditsink.receive.auth import NOBODY, Admission, Peer
from auditsink.receive.framing import Event, Framer
from auditsink.receive.listener import ListenerState
from auditsink.receive.responses import CONTINUE, GREEDY, OVERLOAD, HttpRejection, RejectionReason, Repeated

LINGER_SECONDS = 5.0
LINGER_BYTES = 2**27
"""A client that sends its whole body before it looks for an answer finds it, if the body is no larger than this."""
SMALL_PIECE = 4096
"""Smaller pieces of a body are put together at once: as objects, single bytes would take 50 times their size."""
WRITE_BUFFER = 2**14
"""Bytes of answers that a client may leave unread before it gets no more of them."""

_CUT = HttpRejection(RejectionReason.BAD_REQUEST, "the request ended before its end")


class ConnectionState(IntEnum):
    """Where the connection is; `sweep` says for how long it may be there."""

    READING = 0
    """Between requests or in one."""
    WAITING = 1
    """The request is complete and its answer is not known."""
    LINGERING = 2
    """The last answer is out; whatever comes is thrown away."""
    CLOSED = 3


_READING, _WAITING, _LINGERING, _CLOSED = ConnectionState
_, _HEAD, _END, _BROKEN = Event


class ReceiveConnection(asyncio.BufferedProtocol):
    """A protocol for one transport, plain or TLS. `peer` is what its client certificate proves."""

    __slots__ = (
        "_admission",
        "_chunks",
        "_claimed",
        "_claimed_by",
        "_close",
        "_crowded",
        "_deaf",
        "_ended",
        "_framer",
        "_held",
        "_muted",
        "_paused",
        "_peer",
        "_port",
        "_received",
        "_refused",
        "_retired",
        "_since",
        "_state",
        "_thrown_away",
        "_transport",
        "_unread",
        "_unread_at",
    )

    def __init__(self, port: ListenerState, peer: Peer = NOBODY) -> None:
        self._port = port
        self._peer = peer
        self._framer = Framer(port.heads, self._on_body, self._hold)
        self._transport: asyncio.Transport
        self._admission: Admission
        self._state = _READING
        self._since = port.now  # when the state began; while a request is read, when its first byte came
        self._chunks: list[bytes | bytearray] = []
        self._received = 0  # bytes of the body, kept or not
        self._claimed = 0  # bytes of the body, as announced, while the request is under way
        self._claimed_by = ""
        self._held = 0  # bytes of the budget, for the request that is read
        self._refused: HttpRejection | None = None  # the answer that is due when the body has been read
        self._close = False  # after the next answer
        self._ended = False  # the client sends no more
        self._muted = False  # the client does not read its answers
        self._paused = False  # reading
        self._crowded = False  # beyond max_connections
        self._retired = False  # the next answer is the last
        self._deaf = False  # bytes had to be dropped, so nothing that follows can be understood
        self._unread: bytes = b""  # what came behind the request that is answered, from _unread_at on
        self._unread_at = 0
        self._thrown_away = 0

    def __repr__(self) -> str:
        return f"<ReceiveConnection {self._state.name} held={self._held} unread={len(self._unread) - self._unread_at}>"

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._crowded = not self._port.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone. A batch that waits for the disk stays accepted."""
        self._state = _CLOSED
        self._port.leave(self)
        self._unclaim()
        self._release()
        self._drop_unread()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes go."""
        return self._port.view if self._state != _WAITING else self._port.peek_view

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        port = self._port
        self._take(port.buffer, port.view, 0, nbytes)

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers. True keeps the other direction open."""
        self._ended = True
        if self._state == _READING and not self._framer.between:
            self._hang_up(_CUT)
        return self._state == _WAITING or self._muted

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        self._muted = True
        self._since = self._port.now
        self._pause()

    def resume_writing(self) -> None:
        """It does again."""
        self._muted = False
        self._go_on()

    # What the port calls.

    @property
    def busy(self) -> bool:
        """A request is being read or waits for its answer."""
        if self._state == _READING:
            return not self._framer.between or bool(self._unread)
        return self._state == _WAITING

    def sweep(self, now: float) -> None:
        """End what has taken too long. Nothing bounds the wait for the spool: a slow disk is not the client's fault."""
        waited, limits = now - self._since, self._port.limits
        if self._state in (_LINGERING, _CLOSED):
            if waited > LINGER_SECONDS:
                self._transport.abort()
        elif self._muted:
            if waited > limits.request_timeout:
                self._transport.abort()
        elif self._state == _READING and not self._framer.between:
            if waited > limits.request_timeout:
                sentence = f"the request took longer than receive.request_timeout ({limits.request_timeout})"
                self._hang_up(HttpRejection(RejectionReason.TIMEOUT, sentence))
        elif self._state == _READING and waited > limits.idle_timeout:
            self.close()

    def retire(self) -> None:
        """End with the next answer: no request is lost, and whoever comes back is looked at anew."""
        self._retired = self._close = True

    def close(self) -> None:
        """Close when what is being written is out."""
        self._state = _CLOSED
        self._since = self._port.now
        self._transport.close()

    def abort(self) -> None:
        """Close without another word."""
        self._transport.abort()

    # Bytes into requests.

    def _take(self, raw: bytes | bytearray, view: memoryview, start: int, stop: int) -> None:
        framer = self._framer
        while start < stop:
            if self._state >= _LINGERING:
                self._throw_away(stop - start)
                return
            if self._state == _WAITING or self._muted:
                self._keep(raw, start, stop)
                return
            if framer.between:
                self._since = self._port.now
            event, start = framer.step(raw, view, start, stop)
            if event == _HEAD:
                self._begin()
            elif event == _END:
                self._complete()
            elif event == _BROKEN:
                assert framer.refused is not None
                self._hang_up(framer.refused)
            elif self._refused is not None and not self._refused.later:
                self._hang_up(self._refused)
            if self._state == _READING and framer.between and start < stop:
                # Answered already: others get their turn before the next request of this client.
                self._keep(raw, start, stop)
                self._port.soon(self._go_on)
                return

    def _begin(self) -> None:
        port, framer = self._port, self._framer
        head = framer.head
        self._close = self._crowded or self._retired or not head.keep_alive
        self._received = 0
        decided = decide(port, head, framer.length, self._peer, crowded=self._crowded)
        if not isinstance(decided, HttpRejection) and not self._claim(decided.cluster):
            decided = GREEDY
        if not isinstance(decided, HttpRejection):
            self._admission = decided
            if head.expectation is not None and not framer.between:
                self._transport.write(CONTINUE)
        elif framer.between or (decided.later and head.expectation is None):
            self._refused = decided
        else:
            self._hang_up(decided, bare=head.bare_answer)
            return
        if framer.between:
            self._complete()

    def _claim(self, cluster: str) -> bool:
        """Count the body that is announced towards what the cluster has under way; False when that is too much."""
        port, framer = self._port, self._framer
        announced = port.most if framer.head.chunked else framer.length
        if announced and not port.claims.take(cluster, announced, alone=len(port.intake.spool.rings) <= 1):
            return False
        self._claimed_by, self._claimed = cluster, announced
        return True

    def _unclaim(self) -> None:
        if self._claimed:
            self._port.claims.give(self._claimed_by, self._claimed)
            self._claimed = 0

    def _on_body(self, piece: bytes) -> None:
        size = len(piece)
        self._received += size
        if self._received > self._port.most:
            self._refuse_body(self._port.too_large)
        elif self._refused is None:
            budget = self._port.budget  # not by `_hold`: this is the hot path
            if budget.held + size > budget.limit:
                self._refuse_body(OVERLOAD)
                return
            budget.held += size
            self._held += size
            if size >= SMALL_PIECE or not self._chunks:
                self._chunks.append(piece)
            elif isinstance(last := self._chunks[-1], bytearray):
                last += piece
            else:
                self._chunks.append(bytearray(piece))

    def _hold(self, count: int) -> bool:
        granted = self._port.budget.take(count)
        if granted:
            self._held += count
        return granted

    def _release(self) -> None:
        self._chunks.clear()
        self._port.budget.give(self._held)
        self._held = 0

    def _refuse_body(self, refused: HttpRejection) -> None:
        self._release()
        self._refused = refused

    # Requests into answers.

    def _complete(self) -> None:
        if self._refused is not None:
            refused, self._refused = self._refused, None
            self._release()
            self._reply(refused, bare=self._framer.head.bare_answer)
            return
        body, held = self._body(), self._held
        self._held = 0
        self._state = _WAITING
        packed = self._framer.head.encoding is not None
        self._port.intake.take(self._admission, body, held, self._answered, packed=packed)

    def _body(self) -> bytes:
        """The whole body; its pieces are let go."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 and isinstance(chunks[0], bytes) else b"".join(chunks)

    def _answered(self, result: int | HttpRejection) -> None:
        if self._state == _WAITING:
            self._state = _READING
            self._reply(result)
            if self._paused or self._ended:
                self._go_on()
            return
        self._port.counters.requests += 1
        if isinstance(result, HttpRejection):
            self._port.refused(result, None)

    def _reply(self, result: int | HttpRejection, *, bare: bool = False) -> None:
        """Answer the request; `bare`: without a body."""
        port = self._port
        self._unclaim()
        port.counters.requests += 1
        close = self._close or port.stopping
        self._since = port.now
        if isinstance(result, HttpRejection):
            port.refused(result, self._transport.get_extra_info("peername"))
            answer = port.answers.refused(result, close=close, bare=bare)
        elif isinstance(result, Repeated):
            answer = port.answers.repeated(result, close=close)
        else:
            answer = (not close and port.answers.ready.get(result)) or port.answers.accepted(result, close=close)
        self._transport.write(answer)
        if close:
            self._linger()

    def _hang_up(self, refused: HttpRejection, *, bare: bool = False) -> None:
        """Answer a request whose rest is of no interest or cannot be understood."""
        self._close = True
        self._refused = None
        self._release()
        self._reply(refused, bare=bare)

    def _linger(self) -> None:
        self._state = _LINGERING
        self._drop_unread()
        self._transport.write_eof()
        if self._ended:
            self.close()
        else:
            self._resume()

    def _throw_away(self, count: int) -> None:
        self._thrown_away += count
        if self._thrown_away > LINGER_BYTES:
            self._transport.abort()

    # Pipelining.

    def _keep(self, raw: bytes | bytearray, start: int, stop: int) -> None:
        """Read no more for now."""
        self._pause()
        if raw is self._unread:
            self._unread_at = start
        elif self._port.budget.take(stop - start):
            self._unread = bytes(raw[start:stop])
            self._unread_at = 0
        else:
            self._close = self._deaf = True  # RFC 9112, 9.3.2: a client repeats what it sent behind the last answer

    def _drop_unread(self) -> None:
        self._port.budget.give(len(self._unread))
        self._unread = b""
        self._unread_at = 0

    def _go_on(self) -> None:
        """The answer is out and the client reads: take what it has sent meanwhile."""
        if self._state != _READING or self._muted:
            return
        if self._deaf:
            if self._framer.between:
                self._linger()
            else:
                self._hang_up(OVERLOAD)
            return
        if self._unread:
            unread, start = self._unread, self._unread_at
            self._unread_at = len(unread)  # unless some of it is kept again
            self._take(unread, memoryview(unread), start, len(unread))
            if self._unread_at < len(self._unread):
                return
            self._drop_unread()
        if self._state == _READING and self._ended:
            if self._framer.between:
                self.close()
            else:
                self._hang_up(_CUT)
        else:
            self._resume()

    def _pause(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
