"""One client's connection: requests out of the framer, bodies into the ingest, answers back in order. The hot path.

One request at a time. What a client sends beyond it (pipelining) is kept, bounded, and reading pauses until the answer
is out. A refusal whose body is still on its way is either answered when the body was read and thrown away (503: the
client comes back on the same connection), or answered at once, and what follows is thrown away for a while before the
connection is closed: closing on unread bytes would make TCP throw away the answer as well (RFC 9112, 9.6).
"""

import asyncio

from auditsink.receive.auth import NOBODY, Peer
from auditsink.receive.cluster import Admitted
from auditsink.receive.framing import Event, Framer
from auditsink.receive.head import Head
from auditsink.receive.listener import ListenerState
from auditsink.receive.responses import CLUSTER_OVERLOAD, CONTINUE, OVERLOAD, HttpRejection, RejectionReason, Repeated
from auditsink.receive.states import (
    BLOCKED,
    CROWDED,
    DISCARDING,
    DROPPED,
    ENDED,
    FLOWING,
    INPUT,
    KEEP,
    LINGERING,
    OPEN,
    OUTPUT,
    PERSISTENCE,
    READING,
    REQUEST,
    WAITING,
    Trigger,
    answered,
    dropped,
)

LINGER_SECONDS = 5.0
LINGER_BYTES = 2**27
"""A client that sends its whole body before it looks for an answer finds it, if the body is no larger than this."""
SMALL_PIECE = 4096
"""Smaller pieces of a body are put together at once: as objects, single bytes would take 50 times their size."""
WRITE_BUFFER = 2**14
"""Bytes of answers that a client may leave unread before it gets no more of them."""

_WITHOUT_HEAD = frozenset({RejectionReason.BAD_REQUEST, RejectionReason.TIMEOUT})
_CUT = HttpRejection(RejectionReason.BAD_REQUEST, "the request ended before its end")
_, _HEAD, _END, _BROKEN = Event


class ReceiveConnection(asyncio.BufferedProtocol):
    """A protocol for one transport, plain or TLS. `peer` is what its client certificate proves."""

    __slots__ = (
        "_admitted",
        "_announced",
        "_chunks",
        "_epoch",
        "_framer",
        "_head",
        "_held",
        "_input",
        "_listener",
        "_output",
        "_peer",
        "_persistence",
        "_received",
        "_rejection",
        "_request",
        "_since",
        "_thrown_away",
        "_transport",
        "_unread",
        "_unread_at",
    )

    def __init__(self, listener: ListenerState, peer: Peer = NOBODY) -> None:
        self._listener = listener
        self._peer = peer
        self._framer = Framer(listener.heads, self._on_body, self._hold)
        self._transport: asyncio.Transport
        self._admitted: Admitted
        self._head: Head | None = None  # the one that `_admitted` is for
        self._epoch: object = None  # and when that was
        self._request = READING
        self._input = OPEN
        self._output = FLOWING
        self._persistence = KEEP
        self._since = listener.now  # when the state began; while a request is read, when its first byte came
        self._chunks: list[bytes | bytearray] = []
        self._received = 0  # bytes of the body, kept or not
        self._announced = 0  # bytes of the body, while they count for its cluster
        self._held = 0  # bytes of the memory limit, for the request that is read
        self._rejection: HttpRejection  # while DISCARDING: the answer that is due when the body has been read
        self._unread: bytes = b""  # what came behind the request that is answered, from _unread_at on
        self._unread_at = 0
        self._thrown_away = 0

    def __repr__(self) -> str:
        states = " ".join(one.name for one in (self._request, self._input, self._output, self._persistence))
        return f"<ReceiveConnection {states} held={self._held} unread={len(self._unread) - self._unread_at}>"

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        if not self._listener.enter(self):
            self._persistence = PERSISTENCE[self._persistence, Trigger.CROWD]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone. A batch that waits for the disk stays accepted."""
        self._request = REQUEST[self._request, Trigger.CLOSE]
        self._listener.connections.leave(self)
        self._settle()
        self._release()
        self._drop_unread()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes go."""
        buffers = self._listener.buffers
        return buffers.view if self._request != WAITING else buffers.peek

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        buffers = self._listener.buffers
        self._take(buffers.raw, buffers.view, 0, nbytes)

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers. True keeps the other direction open."""
        self._input = INPUT[self._input, Trigger.END]
        if self._request < WAITING and not self._framer.between:
            self._hang_up(_CUT)
        return self._request == WAITING or self._output == BLOCKED

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        self._output = OUTPUT[self._output, Trigger.BLOCK]
        self._since = self._listener.now
        self._pause()

    def resume_writing(self) -> None:
        """It does again."""
        self._output = OUTPUT[self._output, Trigger.FLOW]
        self._go_on()

    # What the listener calls.

    @property
    def busy(self) -> bool:
        """A request is being read or waits for its answer."""
        if self._request < WAITING:
            return not self._framer.between or bool(self._unread)
        return self._request == WAITING

    def sweep(self, now: float) -> None:
        """End what has taken too long. Nothing bounds the wait for the spool: a slow disk is not the client's fault."""
        waited, settings = now - self._since, self._listener.settings
        if self._request >= LINGERING:
            if waited > LINGER_SECONDS:
                self._transport.abort()
        elif self._output == BLOCKED:
            if waited > settings.request_timeout:
                self._transport.abort()
        elif self._request < WAITING and not self._framer.between:
            if waited > settings.request_timeout:
                sentence = f"the request took longer than receive.request_timeout ({settings.request_timeout})"
                self._hang_up(HttpRejection(RejectionReason.TIMEOUT, sentence))
        elif self._request < WAITING and waited > settings.idle_timeout:
            self.close()

    def retire(self) -> None:
        """End with the next answer: no request is lost, and whoever comes back is looked at anew."""
        self._persistence = PERSISTENCE[self._persistence, Trigger.RETIRE]

    def close(self) -> None:
        """Close when what is being written is out."""
        self._request = REQUEST[self._request, Trigger.CLOSE]
        self._since = self._listener.now
        self._transport.close()

    def abort(self) -> None:
        """Close without another word."""
        self._transport.abort()

    # Bytes into requests.

    def _take(self, raw: bytes | bytearray, view: memoryview, start: int, stop: int) -> None:
        framer = self._framer
        while start < stop:
            if self._request >= LINGERING:
                self._throw_away(stop - start)
                return
            if self._request == WAITING or self._output == BLOCKED:
                self._keep(raw, start, stop)
                return
            if framer.between:
                self._since = self._listener.now
            event, start = framer.step(raw, view, start, stop)
            if event == _HEAD:
                self._begin()
                start = self._take_whole(view, start, stop)
            elif event == _END:
                self._complete()
            elif event == _BROKEN:
                assert framer.refused is not None
                self._hang_up(framer.refused)
            elif self._request == DISCARDING and not self._rejection.later:
                self._hang_up(self._rejection)
            if self._request == READING and framer.between and start < stop:
                # Answered already: others get their turn before the next request of this client.
                self._keep(raw, start, stop)
                self._listener.ingest.soon(self._go_on)
                return

    def _take_whole(self, view: memoryview, start: int, stop: int) -> int:
        """A body that came in one piece with its head, the usual case, needs no turns of `_take`."""
        if self._request >= WAITING or (body := self._framer.whole(view, start, stop)) is None:
            return start
        self._on_body(body)
        self._complete()
        return start + len(body)

    def _begin(self) -> None:
        framer = self._framer
        head = framer.head
        if not head.keep_alive:
            self.retire()
        self._received = 0
        decided = self._admit(head, framer.length)
        if not isinstance(decided, HttpRejection) and not self._announce(decided):
            decided = CLUSTER_OVERLOAD
        if not isinstance(decided, HttpRejection):
            self._admitted = decided
            if head.expectation is not None and not framer.between:
                self._transport.write(CONTINUE)
        elif framer.between or (decided.later and head.expectation is None):
            self._discard(decided)
        else:
            self._hang_up(decided, bare=head.bare_answer)
            return
        if framer.between:
            self._complete()

    def _admit(self, head: Head, length: int) -> Admitted | HttpRejection:
        """Whose batch it is. An apiserver sends the same head for ever (`Heads` gives the same object for it)."""
        listener = self._listener
        epoch = listener.epoch()
        if head is self._head and epoch is self._epoch and epoch is not None:
            return listener.admit_again(self._admitted, length)
        decided = listener.admit(head, length, self._peer, crowded=self._persistence == CROWDED)
        known = not isinstance(decided, HttpRejection) and decided.cluster.ring is not None
        self._head, self._epoch = (head, epoch) if known else (None, None)
        return decided

    def _announce(self, admitted: Admitted) -> bool:
        """Count the body that is announced towards what its cluster has under way; False when that is too much."""
        listener, framer = self._listener, self._framer
        announced = listener.max_body if framer.head.chunked else framer.length
        if not listener.clusters.announce(admitted.cluster, announced):
            return False
        self._announced = announced
        return True

    def _settle(self) -> None:
        if self._announced:
            self._listener.clusters.settle(self._admitted.cluster, self._announced)
            self._announced = 0

    def _on_body(self, piece: bytes) -> None:
        size = len(piece)
        self._received += size
        if self._received > self._listener.max_body:
            self._refuse_body(self._listener.too_large)
        elif self._request == READING:
            memory = self._listener.ingest.memory  # not by `_hold`: this is the hot path
            if memory.held + size > memory.limit:
                self._refuse_body(OVERLOAD)
                return
            memory.held += size
            self._held += size
            if size >= SMALL_PIECE or not self._chunks:
                self._chunks.append(piece)
            elif isinstance(last := self._chunks[-1], bytearray):
                last += piece
            else:
                self._chunks.append(bytearray(piece))

    def _hold(self, count: int) -> bool:
        granted = self._listener.ingest.memory.take(count)
        if granted:
            self._held += count
        return granted

    def _release(self) -> None:
        self._chunks.clear()
        self._listener.ingest.memory.give(self._held)
        self._held = 0

    def _refuse_body(self, rejection: HttpRejection) -> None:
        self._release()
        self._discard(rejection)

    def _discard(self, rejection: HttpRejection) -> None:
        self._request = REQUEST[self._request, Trigger.REFUSED]
        self._rejection = rejection

    # Requests into answers.

    def _complete(self) -> None:
        if self._request == DISCARDING:
            self._release()
            self._reply(self._rejection, bare=self._framer.head.bare_answer)
            return
        body, held = self._body(), self._held
        self._held = 0
        self._request = REQUEST[self._request, Trigger.COMPLETE]
        packed = self._framer.head.encoding is not None
        self._listener.ingest.take(self._admitted, body, held, self._answered, packed=packed)

    def _body(self) -> bytes:
        """The whole body; its pieces are let go."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 and isinstance(chunks[0], bytes) else b"".join(chunks)

    def _answered(self, result: int | HttpRejection) -> None:
        if self._request == WAITING:
            self._reply(result)
            if self._input != OPEN:
                self._go_on()
            return
        self._listener.counters.requests += 1
        if isinstance(result, HttpRejection):
            self._listener.refused(result, None, self._target(result))

    def _reply(self, result: int | HttpRejection, *, bare: bool = False) -> None:
        """Answer the request; `bare`: without a body."""
        listener = self._listener
        self._settle()
        listener.counters.requests += 1
        if listener.stopping:
            self.retire()
        self._request = answered(self._request, self._persistence)
        self._since = listener.now
        close = self._request == LINGERING
        if isinstance(result, HttpRejection):
            listener.refused(result, self._transport.get_extra_info("peername"), self._target(result))
            answer = listener.responses.refused(result, close=close, bare=bare)
        elif isinstance(result, Repeated):
            answer = listener.responses.repeated(result, close=close)
        else:
            ready = None if close else listener.responses.ready.get(result)
            answer = ready or listener.responses.accepted(result, close=close)
        self._transport.write(answer)
        if close:
            self._linger()

    def _target(self, rejection: HttpRejection) -> bytes:
        """Of the request that is refused; empty where its head was not understood, or not all there."""
        framer = self._framer
        return b"" if rejection is framer.refused or rejection.reason in _WITHOUT_HEAD else framer.head.target

    def _hang_up(self, rejection: HttpRejection, *, bare: bool = False) -> None:
        """Answer a request whose rest is of no interest or cannot be understood."""
        self.retire()
        self._release()
        self._reply(rejection, bare=bare)

    def _linger(self) -> None:
        """Say that there is nothing more to come, and read for a while what the client still sends."""
        self._drop_unread()
        self._transport.write_eof()
        if self._input == ENDED:
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
        elif self._listener.ingest.memory.take(stop - start):
            self._unread = bytes(raw[start:stop])
            self._unread_at = 0
        else:  # RFC 9112, 9.3.2: a client repeats what it sent behind the last answer
            self._input, self._persistence = dropped(self._input, self._persistence)

    def _drop_unread(self) -> None:
        self._listener.ingest.memory.give(len(self._unread))
        self._unread = b""
        self._unread_at = 0

    def _go_on(self) -> None:
        """The answer is out and the client reads: take what it has sent meanwhile."""
        if self._request >= WAITING or self._output == BLOCKED:
            return
        if self._input == DROPPED:
            if self._framer.between:
                self._request = REQUEST[self._request, Trigger.LINGER]
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
        if self._request < WAITING and self._input == ENDED:
            if self._framer.between:
                self.close()
            else:
                self._hang_up(_CUT)
        else:
            self._resume()

    def _pause(self) -> None:
        self._input = INPUT[self._input, Trigger.PAUSE]
        self._transport.pause_reading()

    def _resume(self) -> None:
        if self._input != OPEN:
            self._input = INPUT[self._input, Trigger.RESUME]
            self._transport.resume_reading()
