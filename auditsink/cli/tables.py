"""Plain text tables for a terminal. Pure: values in, text out. Control characters never reach the terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from auditsink.common.units import Size

_UNSEEN = (0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
"""They have no width, or reorder what stands around them."""
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), *_UNSEEN), "?")
_HELD_SHOWN = 10
"""Of each destination: a cluster may have been made up by anybody, and there may be hundreds."""
_NUMBERS = ("accepted", "delivered", "filtered", "dead_lettered", "dropped", "pending")


def safe(text: object) -> str:
    """The text without what could steer a terminal."""
    return str(text).translate(_CONTROLS)


def shown(event: bytes) -> bytes:
    """An event for a terminal: `safe` as bytes; what is not UTF-8 becomes U+FFFD."""
    return safe(event.decode(errors="replace")).encode()


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> str:
    """Columns as wide as they need; those with an index in `right` are aligned to the right."""
    cells = [list(header), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = set(right)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in aligned else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def copy_of(values: Mapping[str, Any]) -> Iterator[str]:
    """What `/status` says of the copy, in a line; of a sink without one nothing."""
    copy = values.get("backup")
    if copy:
        age = "none complete yet" if copy["age_seconds"] is None else f"{seconds(copy['age_seconds'])} old"
        yield (
            f"{safe(copy['state'])}, {age}, {Size(copy['stored_bytes'])} in {safe(copy['where'])}, "
            f"{Size(copy['pending_bytes'])} not in it"
        )


def status(values: Mapping[str, Any]) -> str:
    """`/status` for a person."""
    spool = values["spool"]
    share = 100 * spool["bytes"] / spool["max_bytes"] if spool["max_bytes"] else 0
    copy = "".join(f"copy {line}\n" for line in copy_of(values))
    rejected = sum(values["rejected_requests"].values())
    head = (
        f"auditsink {safe(values['version'])}: {safe(values['state'])}\n"
        f"{verdict(values.get('verdict') or {})}"
        f"accepted {values['accepted_events']:,} events in {values['accepted_batches']:,} batches; "
        f"{values['duplicate_batches']:,} repeated batches, {rejected:,} requests refused\n"
        f"spool {Size(spool['bytes'])} of {Size(spool['max_bytes'])} ({share:.0f}%), {spool['segments']:,} segments, "
        f"oldest {seconds(spool['oldest_seconds'])}, {Size(spool['damaged_bytes'])} damaged\n"
        f"{copy}\n"
    )
    rows = [
        (
            destination["name"],
            destination["type"],
            destination["state"],
            *(f"{destination[key]:,}" for key in _NUMBERS[:-1]),
            pending(destination),
            seconds(destination["lag_seconds"]),
        )
        for destination in values["destinations"]
    ]
    header = ("DESTINATION", "TYPE", "STATE", "ACCEPTED", "DELIVERED", "FILTERED", "DEAD", "DROPPED", "PENDING", "LAG")
    errors = [_trouble(destination) for destination in values["destinations"] if destination["last_error"]]
    errors += [
        _held(destination["name"], held)
        for destination in values["destinations"]
        for held in destination.get("held", [])[:_HELD_SHOWN]
    ]
    errors += [worry for worry in values.get("worries", []) if not worry.startswith("destination ")]
    return head + table(header, rows, right=range(3, 10)) + "".join(f"\n{safe(error)}" for error in errors)


def pending(destination: Mapping[str, Any]) -> str:
    """Events that it has not got; what no forwarder has fetched of a topic is estimated and stands behind a plus."""
    beyond = (destination.get("unfetched") or {}).get("events", 0)
    return f"{destination['pending']:,}" + (f" + ~{beyond:,}" if beyond else "")


EXIT_CODES = {"good": 0, "look": 3, "bad": 4}
"""Of `status` and `doctor`, by the level of the verdict."""


def verdict(said: Mapping[str, Any]) -> str:
    """Level, sentence, how long is left and commands, a line each; "" for a sink that gives none."""
    if not said:
        return ""
    lines = [f"{safe(said['level'])}: {safe(said['text'])}"]
    lines += [f"  {loss}" for loss in (until_loss(said),) if loss]
    lines += [f"  $ {safe(command)}" for command in said.get("commands", ())]
    return "\n".join(lines) + "\n"


def until_loss(said: Mapping[str, Any]) -> str:
    """How long until events are lost, in words; "" where no loss is in sight."""
    left = said.get("until_loss_seconds")
    if left is None:
        return ""
    return f"events are lost in about {seconds(left)} if nothing changes" if left else "events are lost or refused now"


def _trouble(one: Mapping[str, Any]) -> str:
    """The last error, with its time: it stands there when all is well again, too, and then says so."""
    over = "over: the last error" if one.get("last_error_over") else "last error"
    at = f" ({over}, {one['last_error_at']})" if one.get("last_error_at") else ""
    wait = one.get("next_attempt_seconds") or 0
    return f"{one['name']}{at}: {one['last_error']}" + (f"; next try in {seconds(wait)}" if wait else "")


def _held(destination: str, held: Mapping[str, Any]) -> str:
    wait = seconds(held["next_attempt_seconds"])
    return f"{destination} does not take the events of cluster {held['cluster']}: {held['why']}; next try in {wait}"


def seconds(value: float) -> str:
    """A span of time in two units at most: `0.4s`, `12s`, `3m 20s`, `2h 5m`, `4d 1h`."""
    if value < 10:
        return f"{value:.1f}s"
    whole = int(value)
    for size, name, below, below_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{name} {whole % size // below}{below_name}"
    return f"{whole}s"
