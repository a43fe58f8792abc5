"""Where a client's connection is, in four dimensions, and every way from one state to another. Pure.

    request      what the connection is at: READING -> (DISCARDING ->) WAITING -> READING, in the end LINGERING, CLOSED
    input        what of the client's bytes is taken: OPEN, PAUSED, DROPPED, ENDED
    output       whether the client reads what it is answered: FLOWING, BLOCKED
    persistence  what becomes of the connection after the next answer: KEEP, LAST, CROWDED

Where the next state hangs on the present one, a table says it: a trigger belongs to one of the two, and a pair that is
not there cannot happen: `connection` fails, asyncio drops the client, and no other one notices. The output is what
asyncio last said it is, and persistence only rises. Two rules go across the dimensions:

    1. An answer that is given while persistence is not KEEP is the last one: `answered`.
    2. Bytes that were dropped make persistence LAST, because nothing that follows them can be understood: `dropped`.
"""

from collections.abc import Mapping
from enum import IntEnum


class RequestState(IntEnum):
    """What the connection is at. In the order of a life, so that `< WAITING` is a request that may still come in."""

    READING = 0
    """Between requests or in one."""
    DISCARDING = 1
    """In a request that is refused already: its body is read and thrown away, then it is answered."""
    WAITING = 2
    """The request is complete and its answer is not known."""
    LINGERING = 3
    """The last answer is out; whatever comes is thrown away."""
    CLOSED = 4


class InputState(IntEnum):
    """What of the client's bytes is taken."""

    OPEN = 0
    PAUSED = 1
    """Nothing is read for now; what was read already is kept."""
    DROPPED = 2
    """Paused, and there was no memory to keep what was read already."""
    ENDED = 3
    """The client sends no more."""


class OutputState(IntEnum):
    """Whether the client reads its answers."""

    FLOWING = 0
    BLOCKED = 1


class KeepAlive(IntEnum):
    """What becomes of the connection after the next answer. It only rises: `max`."""

    KEEP = 0
    LAST = 1
    """It is closed: the client or we want it so."""
    CROWDED = 2
    """It is closed, and the answer is a refusal: this client is beyond `receive.max_connections`."""


class Trigger(IntEnum):
    """What moves a connection on."""

    REFUSED = 0
    """The answer is known and is due when the body has been read."""
    COMPLETE = 1
    ANSWERED = 2
    LAST_ANSWERED = 3
    LINGER = 4
    """No answer is due, and what the client sends is not wanted any more."""
    CLOSE = 5
    PAUSE = 10
    RESUME = 11
    DROP = 12
    END = 13


READING, DISCARDING, WAITING, LINGERING, CLOSED = RequestState
OPEN, PAUSED, DROPPED, ENDED = InputState
FLOWING, BLOCKED = OutputState
KEEP, LAST, CROWDED = KeepAlive

REQUEST: Mapping[tuple[RequestState, Trigger], RequestState] = {
    (READING, Trigger.REFUSED): DISCARDING,
    (READING, Trigger.COMPLETE): WAITING,
    (READING, Trigger.ANSWERED): READING,
    (READING, Trigger.LAST_ANSWERED): LINGERING,
    (READING, Trigger.LINGER): LINGERING,
    (READING, Trigger.CLOSE): CLOSED,
    (DISCARDING, Trigger.REFUSED): DISCARDING,
    (DISCARDING, Trigger.ANSWERED): READING,
    (DISCARDING, Trigger.LAST_ANSWERED): LINGERING,
    (DISCARDING, Trigger.CLOSE): CLOSED,
    (WAITING, Trigger.ANSWERED): READING,
    (WAITING, Trigger.LAST_ANSWERED): LINGERING,
    (WAITING, Trigger.CLOSE): CLOSED,
    (LINGERING, Trigger.CLOSE): CLOSED,
    (CLOSED, Trigger.CLOSE): CLOSED,
}

INPUT: Mapping[tuple[InputState, Trigger], InputState] = {
    (OPEN, Trigger.PAUSE): PAUSED,
    (OPEN, Trigger.RESUME): OPEN,
    (OPEN, Trigger.END): ENDED,
    (PAUSED, Trigger.PAUSE): PAUSED,
    (PAUSED, Trigger.RESUME): OPEN,
    (PAUSED, Trigger.DROP): DROPPED,
    (PAUSED, Trigger.END): ENDED,  # TLS has records of before the pause in hand
    (DROPPED, Trigger.PAUSE): DROPPED,
    (DROPPED, Trigger.RESUME): OPEN,  # only lingering reads on
    (DROPPED, Trigger.DROP): DROPPED,
    (DROPPED, Trigger.END): DROPPED,
    (ENDED, Trigger.PAUSE): ENDED,
    (ENDED, Trigger.RESUME): ENDED,
    (ENDED, Trigger.DROP): DROPPED,
    (ENDED, Trigger.END): ENDED,
}

_ANSWERED, _LAST_ANSWERED, _DROP = Trigger.ANSWERED, Trigger.LAST_ANSWERED, Trigger.DROP


def answered(request: RequestState, persistence: KeepAlive) -> RequestState:
    """Where an answer leads (rule 1)."""
    return REQUEST[request, _ANSWERED if persistence == KEEP else _LAST_ANSWERED]


def dropped(taken: InputState, persistence: KeepAlive) -> tuple[InputState, KeepAlive]:
    """Where dropped bytes lead (rule 2)."""
    return INPUT[taken, _DROP], max(persistence, LAST)
