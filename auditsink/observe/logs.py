"""What the sink says on standard error: one line an event of its own, JSON or text, without secrets.

Everything goes through the root logger, uvicorn's and aiokafka's lines too. `extra` fields stand beside the message.
Equal lines are said once and then counted: the first one (or the first few, where the caller says so) goes out at once.
Those that follow within `WINDOW_SECONDS` come out as one line at its end; then the next window begins, until one of
them brings nothing. A thread of its own writes them: a pipe that nobody empties blocks its writer for ever, and then no
request would be answered, no probe, no signal.
"""

import logging
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TextIO, TypeVar

import orjson

from auditsink.common.redact import redact
from auditsink.config import Log

QUEUED_BYTES = 2**20
"""Lines that wait: some thousands, which a reader that is only slow catches up with."""


class LogWriter:
    """Lines to a file descriptor, in a queue with a bound; what finds no room is skipped and counted, and that is said.

    `put` may be called in any thread and never waits for the reader.
    """

    def __init__(
        self,
        fd: int,
        *,
        skipped_line: Callable[[int], str],
        idle: Callable[[], float | None] = lambda: None,
        queued_bytes: int = QUEUED_BYTES,
    ) -> None:
        """`skipped_line` makes the line that says how many were skipped.

        `idle` is called when nothing waits; it may `put`, and says in how many seconds it wants to be called again.
        """
        self.skipped = 0
        """Lines, since the start."""
        self._fd = fd
        self._skipped_line = skipped_line
        self._idle = idle
        self._limit = queued_bytes
        self._told = 0
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="auditsink-log", daemon=True).start()

    def __repr__(self) -> str:
        return f"<LogWriter {len(self._lines)} lines wait, {self.skipped} skipped>"

    def put(self, line: str) -> None:
        """Have the line written, with its line break; or skip it."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if self._bytes + len(data) > self._limit:
                self.skipped += 1
                return
            self._say_skipped()
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are out, for so long; says whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._lines or self._writing), seconds)

    def _run(self) -> None:
        while True:
            self._write(self._next())

    def _next(self) -> bytes:
        while True:
            wait = None if self._lines else self._idle()
            with self._changed:
                self._writing = False
                if not self._lines:
                    self._say_skipped()
                self._changed.notify_all()
                if self._lines or self._changed.wait_for(lambda: self._lines, wait):
                    self._writing = True
                    line = self._lines.popleft()
                    self._bytes -= len(line)
                    return line

    def _say_skipped(self) -> None:
        if self.skipped > self._told:
            data = self._skipped_line(self.skipped - self._told).encode() + b"\n"
            self._told = self.skipped
            self._lines.append(data)  # past the bound, but for one line
            self._bytes += len(data)

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody who shares it has made it so
                waiting = select.poll()
                waiting.register(self._fd, select.POLLOUT)
                waiting.poll()
            except OSError:  # its reader has gone: there is nobody to tell
                with self._changed:
                    self.skipped += 1
                    self._told = self.skipped
                return


WINDOW_SECONDS = 10.0
MOST_KEYS = 512
"""Different lines that are remembered; the one that was first seen longest ago makes room."""

T = TypeVar("T")


class Repeats(NamedTuple, Generic[T]):
    """`number` lines equal to `line` were held back."""

    line: T
    number: int


class LogGroups(Generic[T]):
    """`T` is what the caller wants to have back of a line. Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._windows: dict[Hashable, tuple[float, int, Repeats[T]]] = {}  # when it began, how many were written

    def __repr__(self) -> str:
        return f"<LogGroups of {len(self._windows)} lines>"

    def admit(self, key: Hashable, line: T, now: float, at_once: int = 1) -> bool:
        """Whether to write the line, one of the first `at_once` of its window. Call `due` first."""
        began, written, held = self._windows.get(key, (now, 0, Repeats(line, 0)))
        if written < at_once:
            self._windows[key] = began, written + 1, held
            return True
        self._windows[key] = began, written, Repeats(line, held.number + 1)
        return False

    def due(self, now: float, *, ending: bool = False) -> list[Repeats[T]]:
        """What to write now of what was held back; all of it when it is `ending`."""
        over = [
            key
            for place, (key, (began, *_)) in enumerate(self._windows.items())
            if ending or now - began >= WINDOW_SECONDS or len(self._windows) - place > MOST_KEYS
        ]
        repeats = []
        for key in over:
            _, written, held = self._windows.pop(key)
            if held.number:
                repeats.append(held)
                self._windows[key] = now, written, Repeats(held.line, 0)
        return repeats

    @property
    def next_due(self) -> float | None:
        """When something may be due; None while nothing is held."""
        return next((began + WINDOW_SECONDS for began, *_ in self._windows.values()), None)


NOISY = ("aiokafka", "asyncio", "httpx2", "uvicorn")
"""Libraries whose `info` is our `debug`."""

QUIET_AT_ONCE = 5
"""Equal lines below a warning that go out at once in ten seconds: they tell of what was done, and each counts."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


Fields = dict[str, Any]
"""`time`, `level`, `logger`, `message`, in this order, and what else there is; all of it fit to be shown."""


def configure(settings: Log, stream: TextIO | None = None) -> None:
    """Send all logging and Python's warnings to standard error (or a stream), in place of what was set before."""
    stream = stream or _without_descriptor(sys.stderr)
    handler = LogHandler(JsonFormatter() if settings.format == "json" else TextFormatter(), stream)
    logging.basicConfig(handlers=[handler], force=True)
    set_level(settings)
    logging.captureWarnings(capture=True)
    # A line that cannot be written (the collector is gone) must not become a traceback on the same stream.
    logging.raiseExceptions = False


def set_level(settings: Log) -> None:
    """From now on say what this level and those above it say."""
    logging.getLogger().setLevel(settings.level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if settings.level == "debug" else logging.WARNING)


def skipped() -> int:
    """Log lines that found no room, because nobody read standard error, since the start."""
    return sum(handler.skipped for handler in logging.getLogger().handlers if isinstance(handler, LogHandler))


def flush(seconds: float) -> None:
    """Have everything written that was said, held back or not; but wait no longer than so."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.finish(seconds)


class LogHandler(logging.Handler):
    """Groups lines and hands them to a `LogWriter`; a `stream` is written to at once."""

    def __init__(self, formatter: "JsonFormatter | TextFormatter", stream: TextIO | None = None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._line = formatter.line
        self._groups: LogGroups[Fields] = LogGroups()
        self._writer: LogWriter | None = None
        self._put: Callable[[str], object]
        if stream is None:
            self._writer = LogWriter(_standard_error(), skipped_line=self._skipped_line, idle=self._idle)
            self._put = self._writer.put
        else:
            self._put = lambda line: stream.write(f"{line}\n")

    @property
    def skipped(self) -> int:
        """How many lines were skipped because nobody read them."""
        return 0 if self._writer is None else self._writer.skipped

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`; the handler's lock is held."""
        try:
            fields = _clean(_fields(record))
            now = time.monotonic()
            self._say_due(now)
            same = orjson.dumps({**fields, "time": ""})
            if self._groups.admit(same, fields, now, 1 if record.levelno >= logging.WARNING else QUIET_AT_ONCE):
                self._put(self._line(fields))
        except Exception:  # noqa: BLE001 - a line that cannot be written is nobody's failure
            self.handleError(record)

    def finish(self, seconds: float) -> None:
        """Write what is held back, and wait for it, but no longer than so."""
        self._alone(lambda: self._say_due(time.monotonic(), ending=True))
        if self._writer is not None:
            self._writer.flush(seconds)

    def _alone(self, action: Callable[[], None]) -> None:
        self.acquire()
        try:
            action()
        finally:
            self.release()

    def _say_due(self, now: float, *, ending: bool = False) -> None:
        for fields, count in self._groups.due(now, ending=ending):
            said = {"message": f"{count} x {fields['message']}", "within_seconds": WINDOW_SECONDS}
            self._put(self._line({**fields, **said}))

    def _idle(self) -> float | None:
        now = time.monotonic()
        self._alone(lambda: self._say_due(now))
        due = self._groups.next_due
        return None if due is None else max(0.0, due - now)

    def _skipped_line(self, count: int) -> str:
        return self._line({
            "time": _time(time.time()),
            "level": "warning",
            "logger": __name__,
            "message": f"{count} log lines were skipped: standard error was not read",
        })  # fmt: skip


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., extra fields, "exception": "..."}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; never raises for what is in the record."""
        return self.line(_clean(_fields(record)))

    def line(self, fields: Fields) -> str:
        """The same from fields that are fit to be shown."""
        return orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """`time LEVEL logger: message key=value`, for a person at a terminal; an exception follows in the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; control characters are written as escapes, so that no value can forge a line."""
        return self.line(_clean(_fields(record)))

    def line(self, fields: Fields) -> str:
        """The same from fields that are fit to be shown."""
        shown = dict(fields)
        at, level, logger, message = (shown.pop(key) for key in ("time", "level", "logger", "message"))
        rest = "".join(f" {key}={value}" for key, value in shown.items())
        return f"{at} {level.upper():<7} {logger}: {message}{rest}".translate(_CONTROLS)


def _without_descriptor(stream: TextIO | None) -> TextIO | None:
    """The stream, if it is an object of Python's only."""
    if stream is not None:
        try:
            stream.fileno()
        except (OSError, ValueError):
            return stream
    return None


def _standard_error() -> int:
    """Where it was closed before we came, its number may be that of any other file by now."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Fields:
    fields: Fields = {
        "time": _time(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _message(record),
    }
    fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD and key not in fields}
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return fields


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's arguments that do not fit its own format
        return f"{record.msg} {record.args!r}"


def _clean(value: Any) -> Any:
    """Values that JSON can carry, texts without secrets and without lone surrogates."""
    if isinstance(value, dict):
        return {str(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(entry) for entry in value]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return redact(str(value).encode(errors="backslashreplace").decode())
