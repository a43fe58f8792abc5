"""What `status --watch` shows: the page in text. Pure: status documents in, styled lines out, cut to the terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from auditsink.cli.tables import safe, seconds, table, until_loss
from auditsink.cli.terminal import Style, StyledLine
from auditsink.common.units import Size

WINDOW = 6
"""Documents over which a rate is taken."""
_LEVELS = {"good": Style.GOOD, "look": Style.LOOK, "bad": Style.BAD}
_ROWS = {"look": Style.LOOK, "bad": Style.BAD}
_WIDEST_BAR = 60


class LastSeen(NamedTuple):
    """A status document and when it came (monotonic seconds)."""

    at: float
    status: Mapping[str, Any]


def board(seen: Sequence[LastSeen], width: int, height: int) -> list[StyledLine]:
    """The newest of `seen`, rates over all of them; at most `height` lines."""
    status = seen[-1].status
    lines = [*_head(seen, width), *_destinations(seen), *_troubles(status, width)]
    if len(lines) > height:
        return [*lines[: height - 1], StyledLine(f"... {len(lines) - height + 1} lines more; make the terminal higher")]
    return lines + _clusters(seen, height - len(lines))


def _head(seen: Sequence[LastSeen], width: int) -> Iterator[StyledLine]:
    status = seen[-1].status
    verdict = status.get("verdict") or {"level": "", "text": status["state"]}
    spool = status["spool"]
    share = spool["bytes"] / spool["max_bytes"] if spool["max_bytes"] else 0.0
    style = _LEVELS.get(verdict["level"], Style.BOLD)
    yield from _wrapped(f"auditsink {safe(status['version'])}: {safe(verdict['text'])}", width, style)
    if loss := until_loss(verdict):
        yield StyledLine(f"  {loss}", style)
    for command in verdict.get("commands", ())[:2]:
        yield StyledLine(f"  $ {safe(command)}", Style.BOLD)
    yield StyledLine("")
    rate = _rate(seen, lambda one: one["accepted_events"])
    refused = sum(status["rejected_requests"].values())
    yield StyledLine(
        f"receive  {rate} events, {status['accepted_events']:,} in all; {status['duplicate_batches']:,} repeated "
        f"batches, {refused:,} requests refused"
    )
    yield StyledLine(f"ring     [{_bar(status, share, min(_WIDEST_BAR, width - 20))}] {share:.0%}")
    yield StyledLine(
        f"         {Size(spool['bytes'])} of {Size(spool['max_bytes'])}, {Size(spool['wanted_bytes'])} still needed, "
        f"oldest {seconds(spool['oldest_seconds'])}, {Size(spool['damaged_bytes'])} damaged"
    )
    yield StyledLine("")


def _bar(status: Mapping[str, Any], share: float, width: int) -> str:
    """What is held, oldest first, and the number of each destination where it is in it."""
    width = max(10, width)
    spool = status["spool"]
    held = spool["next_sequence"] - spool["first_sequence"]
    filled = min(width, round(width * share))
    bar = list("#" * filled + "." * (width - filled))
    for number, one in enumerate(status["destinations"], 1):
        place = round(max(filled - 1, 0) * (1 - min(1.0, one["pending"] / held)) if held else 0)
        free = next((at for at in range(place, width) if not bar[at].isdigit()), place)
        bar[free] = str(number % 10)
    return "".join(bar)


def _destinations(seen: Sequence[LastSeen]) -> Iterator[StyledLine]:
    several = seen[-1].status["destinations"]
    rows = [
        (
            f"{number} {one['name']}", one["type"], one["state"], _rate(seen, _delivered(one["name"])),
            *(f"{one[key]:,}" for key in ("delivered", "pending", "filtered", "dead_lettered", "dropped")),
            seconds(one["lag_seconds"]),
        )
        for number, one in enumerate(several, 1)
    ]  # fmt: skip
    header = ("  DESTINATION", "TYPE", "STATE", "RATE", "DELIVERED", "PENDING", "FILTERED", "DEAD", "DROPPED", "LAG")
    head, *body = table(header, rows, right=range(3, 10)).splitlines()
    yield StyledLine(head, Style.BOLD)
    for text, one in zip(body, several, strict=True):
        yield StyledLine(text, _ROWS.get(one.get("level"), Style.PLAIN))


def _troubles(status: Mapping[str, Any], width: int) -> Iterator[StyledLine]:
    for reason in status.get("reasons", ()):
        yield from _wrapped(f"not ready: {safe(reason)}", width, Style.BAD)
    for number, one in enumerate(status["destinations"], 1):
        if one["last_error"] or one.get("advice"):
            yield StyledLine("")
            yield from _wrapped(f"{number} {safe(one['name'])}{_last_error(one)}", width)
        for advice in one.get("advice", ()):
            yield from _wrapped(f"  {safe(advice)}", width, Style.FAINT)


def _last_error(one: Mapping[str, Any]) -> str:
    if not one["last_error"]:
        return ""
    if one.get("last_error_over"):
        return f", the last error is over; it was at {safe(one.get('last_error_at'))}: {safe(one['last_error'])}"
    wait = f"; next try in {seconds(one['next_attempt_seconds'])}" if one.get("next_attempt_seconds") else ""
    return f", {safe(one.get('last_error_at'))}: {safe(one['last_error'])}{wait}"


def _wrapped(text: str, width: int, style: Style = Style.PLAIN) -> Iterator[StyledLine]:
    for line in wrap(text, max(20, width), subsequent_indent="  "):
        yield StyledLine(line, style)


def _clusters(seen: Sequence[LastSeen], height: int) -> list[StyledLine]:
    """As many as there is room for, those with the most pending first."""
    several = seen[-1].status.get("clusters", ())
    room = height - 3
    if room < 1 or not several:
        return []
    heaviest = sorted(several, key=_pending, reverse=True)[:room]
    rates = _cluster_rates(seen)
    rows = [
        (
            one["cluster"], rates.get(one["cluster"], "-"), f"{one['spool']['next_sequence']:,}",
            Size(one["spool"]["bytes"]), seconds(one["spool"]["oldest_seconds"]), f"{_pending(one):,}",
        )
        for one in heaviest
    ]  # fmt: skip
    head, *body = table(
        ("CLUSTER", "RATE", "ACCEPTED", "RING", "OLDEST", "PENDING"), rows, right=range(1, 6)
    ).splitlines()
    more = [StyledLine(f"... and {len(several) - room:,} more", Style.FAINT)] if len(several) > room else []
    return [StyledLine(""), StyledLine(head, Style.BOLD), *map(StyledLine, body), *more]


def _pending(cluster: Mapping[str, Any]) -> int:
    return sum(one["pending"] for one in cluster["destinations"])


def _cluster_rates(seen: Sequence[LastSeen]) -> dict[str, str]:
    before = {one["cluster"]: one["spool"]["next_sequence"] for one in seen[0].status.get("clusters", ())}
    now = {one["cluster"]: one["spool"]["next_sequence"] for one in seen[-1].status.get("clusters", ())}
    return {name: _slope(before.get(name), value, seen[-1].at - seen[0].at) for name, value in now.items()}


def _delivered(name: str) -> Any:
    return lambda status: next((one["delivered"] for one in status["destinations"] if one["name"] == name), None)


def _rate(seen: Sequence[LastSeen], value: Any) -> str:
    return _slope(value(seen[0].status), value(seen[-1].status), seen[-1].at - seen[0].at)


def _slope(before: int | None, after: int, passed: float) -> str:
    """Never below zero: a sink that was started anew counts from its disk."""
    if before is None or passed <= 0:
        return "-"
    rate = max(0.0, (after - before) / passed)
    return f"{rate:.1f}/s" if 0 < rate < 10 else f"{rate:,.0f}/s"


def plain(lines: Iterable[StyledLine]) -> str:
    """For where no terminal is."""
    return "\n".join(line.text for line in lines)
