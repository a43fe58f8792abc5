"""What the sink says on standard error: one line an event of its own, JSON or text, without secrets.

Everything goes through the root logger, uvicorn's and aiokafka's lines too. `extra` fields stand beside the message.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from auditsink.common.redact import redact
from auditsink.config import Log

NOISY = ("aiokafka", "asyncio", "uvicorn")
"""Libraries whose `info` is our `debug`."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


def configure(settings: Log, stream: TextIO | None = None) -> None:
    """Send all logging and Python's warnings to the stream (standard error), in place of what was set before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # A line that cannot be written (the collector is gone) must not become a traceback on the same stream.
    logging.raiseExceptions = False
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if settings.level == "debug" else logging.WARNING)


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., extra fields, "exception": "..."}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; never raises for what is in the record."""
        return orjson.dumps(_clean(_fields(record)), option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """`time LEVEL logger: message key=value`, for a person at a terminal; an exception follows in the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; control characters are written as escapes, so that no value can forge a line."""
        fields = _clean(_fields(record))
        time, level, logger, message = (fields.pop(key) for key in ("time", "level", "logger", "message"))
        rest = "".join(f" {key}={value}" for key, value in fields.items())
        return f"{time} {level.upper():<7} {logger}: {message}{rest}".translate(_CONTROLS)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
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
