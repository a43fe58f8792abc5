"""One client's connection: requests out of the framer, bodies into the ingest, answers back in order. The hot path.

One request at a time. What a client sends beyond it (pipelining) is kept, bounded, and reading pauses until the answer
is out. A refusal whose body is still on its way is either answered when the body was read and thrown away (503: the
client comes back on the same connection), or answered at once, and what follows is thrown away for a while before the
connection is closed: closing on unread bytes would make TCP throw away the answer as well (RFC 9112, 9.6).
"""

import asyncio
from mmap import mmap

from auditsink.receive.auth import NOBODY, Peer
from auditsink.receive.cluster import Admitted
from auditsink.receive.framing import Event, Framer
from auditsink.receive.head import Head
from auditsink.receive.limits import KeptBody, UnreadBytes
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
    LAST,
    LINGERING,
    OPEN,
    READING,
    REQUEST,
    WAITING,
    Trigger,
    answered,
    dropped,
)

LINGER_SECONDS = 5.0
LINGER_BYTES = 2**27
"""A client that looks for an answer behind its whole body finds it, if the body is no larger than this."""
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
        "_body",
        "_epoch",
        "_framer",
        "_head",
        "_input",
        "_listener",
        "_output",
        "_peer",
        "_persistence",
        "_rejection",
        "_request",
        "_since",
        "_thrown_away",
        "_transport",
        "_unread",
    )

    def __init__(self, listener: ListenerState, peer: Peer = NOBODY) -> None:
        self._listener = listener
        self._peer = peer
        self._body = KeptBody(listener.ingest.memory)
        self._framer = Framer(listener.heads, self._on_body, self._body.hold)
        self._transport: asyncio.Transport
        self._admitted: Admitted
        self._head: Head | None = None  # the one that `_admitted` is for, while it may be let in again
        self._epoch: object = None  # when that was
        self._request = READING
        self._input = OPEN
        self._output = FLOWING
        self._persistence = KEEP
        self._since = listener.now  # when the state began; while a request is read, when its first byte came
        self._announced = 0  # bytes of the body, while they count for its cluster
        self._rejection: HttpRejection  # while DISCARDING: the answer that is due when the body has been read
        self._unread = UnreadBytes(listener.ingest.memory)
        self._thrown_away = 0

    def __repr__(self) -> str:
        states = " ".join(one.name for one in (self._request, self._input, self._output, self._persistence))
        return f"<ReceiveConnection {states} held={self._body.held} unread={len(self._unread.data) - self._unread.at}>"

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        if not self._listener.enter(self):
            self._persistence = CROWDED

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone. A batch that waits for the disk stays accepted."""
        self._request = REQUEST[self._request, Trigger.CLOSE]
        self._listener.connections.leave(self)
        self._settle()
        self._body.release()
        self._unread.drop()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes go."""
        buffers = self._listener.buffers
        return buffers.view if self._request != WAITING else buffers.peek

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        buffers = self._listener.buffers
        if self._head is None or not self._take_whole(buffers.raw, buffers.view, nbytes):
            self._take(buffers.raw, buffers.view, 0, nbytes)

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for answers. True keeps the other direction open."""
        self._input = INPUT[self._input, Trigger.END]
        if self._request < WAITING and not self._framer.between:
            self._hang_up(_CUT)
        return self._request == WAITING or self._output == BLOCKED

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        self._output = BLOCKED
        self._since = self._listener.now
        self._pause()

    def resume_writing(self) -> None:
        """It does again."""
        self._output = FLOWING
        self._go_on()

    # What the listener calls.

    @property
    def busy(self) -> bool:
        """A request is being read or waits for its answer."""
        if self._request < WAITING:
            return not self._framer.between or bool(self._unread.data)
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
        self._persistence = max(self._persistence, LAST)

    def close(self) -> None:
        """Close when what is being written is out."""
        self._request = REQUEST[self._request, Trigger.CLOSE]
        self._since = self._listener.now
        self._transport.close()

    def abort(self) -> None:
        """Close without another word."""
        self._transport.abort()

    # Bytes into requests.

    def _take_whole(self, raw: bytes | mmap, view: memoryview, stop: int) -> bool:
        """All of a request at once, with the head that was let in before: the usual case, in few steps.

        False for anything else, and for what is to be refused: then nothing has happened.
        """
        if self._request != READING or self._input != OPEN or self._output != FLOWING:
            return False
        listener, admitted = self._listener, self._admitted
        body = self._framer.whole(raw, view, stop)
        if not (
            body and listener.admits_again(admitted, len(body), self._epoch) and self._announce(admitted, len(body))
        ):
            return False
        if not (held := self._body.whole(len(body))):
            self._settle()
            return False
        self._since = listener.now
        self._request = WAITING
        listener.ingest.take(admitted, body, held, self._answered, packed=self._framer.head.encoding is not None)
        return True

    def _take(self, raw: bytes | mmap, view: memoryview, start: int, stop: int) -> None:
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

    def _begin(self) -> None:
        framer, head = self._framer, self._framer.head
        if not head.keep_alive:
            self.retire()
        self._body.received = 0
        decided = self._admit(head, framer.length)
        announced = self._listener.max_body if head.chunked else framer.length
        if not isinstance(decided, HttpRejection) and not self._announce(decided, announced):
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
        if head is self._head and listener.admits_again(self._admitted, length, self._epoch):
            return self._admitted
        epoch = listener.epoch()
        decided = listener.admit(head, length, self._peer, crowded=self._persistence == CROWDED)
        known = epoch is not None and not isinstance(decided, HttpRejection) and decided.cluster.ring is not None
        self._head, self._epoch = (head, epoch) if known else (None, None)
        return decided

    def _announce(self, admitted: Admitted, count: int) -> bool:
        """Count the body that is announced towards what its cluster has under way; False when that is too much."""
        if not self._listener.clusters.announce(admitted.cluster, count):
            return False
        self._announced = count
        return True

    def _settle(self) -> None:
        if self._announced:
            self._listener.clusters.settle(self._admitted.cluster, self._announced)
            self._announced = 0

    def _on_body(self, piece: bytes) -> None:
        body = self._body
        body.received += len(piece)
        if body.received > self._listener.max_body:
            body.release()
            self._discard(self._listener.too_large)
        elif self._request == READING and not body.add(piece):
            body.release()
            self._discard(OVERLOAD)

    def _discard(self, rejection: HttpRejection) -> None:
        self._request = REQUEST[self._request, Trigger.REFUSED]
        self._rejection = rejection

    # Requests into answers.

    def _complete(self) -> None:
        if self._request == DISCARDING:
            self._body.release()
            self._reply(self._rejection, bare=self._framer.head.bare_answer)
            return
        body, held = self._body.taken()
        self._request = REQUEST[self._request, Trigger.COMPLETE]
        packed = self._framer.head.encoding is not None
        self._listener.ingest.take(self._admitted, body, held, self._answered, packed=packed)

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
        self._body.release()
        self._reply(rejection, bare=bare)

    def _linger(self) -> None:
        """Say that there is nothing more to come, and read for a while what the client still sends."""
        self._unread.drop()
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

    def _keep(self, raw: bytes | mmap, start: int, stop: int) -> None:
        """Read no more for now."""
        self._pause()
        if not self._unread.keep(raw, start, stop):  # RFC 9112, 9.3.2: a client repeats what is behind the last answer
            self._input, self._persistence = dropped(self._input, self._persistence)

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
        unread = self._unread
        if data := unread.data:
            start, unread.at = unread.at, len(data)  # unless some of it is kept again
            self._take(data, memoryview(data), start, len(data))
            if unread.at < len(unread.data):
                return
            unread.drop()
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
