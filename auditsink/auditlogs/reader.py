"""One audit log, in the order of its lines: bytes in, events, lists and what was passed over out. Pure.

Memory is bounded by `MAX_LINE` whatever the log is, time is linear: what turned out not to be a document is looked at
a second time, and no more bytes of it than were read once.

A JSON document may be printed over several lines, and a line that was torn looks like the first of such. So every line
must be able to follow the one before it: no string runs over a line break, and a value begins only where JSON lets one
begin. A torn line is given up at the first line that cannot belong to it, for a log nearly always the next one. Of a
document that was torn, what opens deeper than it did may be its content, which somebody else has chosen.
"""

from collections.abc import Iterator
from typing import NamedTuple

from auditsink.auditlogs import contents, values
from auditsink.auditlogs.contents import TOO_LONG, TORN, Content, LoggedList, Nothing
from auditsink.auditlogs.lines import MAX_LINE, Line, LinePart, LineSplitter, Parts, container_part
from auditsink.auditlogs.values import BLANK, OPENING, TOKENS

_PAIRS = {b"}": b"{", b"]": b"["}


class Document:
    """`first` is the number of its first line. Add lines until it is `closed`."""

    def __init__(self, first: int, limit: int = MAX_LINE) -> None:
        self.first = first
        self.closed = False
        self.too_long = False
        self._limit = limit
        self._text = bytearray()
        self._open: list[bytes] = []
        self._last = b""  # the last byte so far that is not blank
        self._lines = 0

    def add(self, line: bytes) -> bool:
        """Add a line; False when it cannot be the next one. Then nothing more may be added."""
        self._text += line + b"\n"
        self._lines += 1
        if len(self._text) > self._limit:
            self.too_long = True
            return False
        text = line.strip(BLANK)
        if not text:
            return True
        if not self._may_follow(text[:1]) or not self._balance(text):
            return False
        self._last = text[-1:]
        return True

    @property
    def data(self) -> bytes:
        """The document, as it stands; without a comma behind it."""
        return bytes(self._text).strip(BLANK + b",")

    def lines_behind_the_first(self) -> Iterator[tuple[int, bytes]]:
        """The others that were added, the one that could not follow too, with their numbers."""
        text, number, start = bytes(self._text), self.first, self._text.find(b"\n") + 1
        while start < len(text):
            number += 1
            stop = text.find(b"\n", start)
            yield number, text[start:stop]
            start = stop + 1

    @property
    def bytes_behind_the_first(self) -> int:
        """What it costs to look at these again."""
        return len(self._text) - self._text.find(b"\n") - 1

    def _may_follow(self, first: bytes) -> bool:
        if not self._last:
            return first in OPENING
        if first == b"{":
            return self._last in b"[:" or (self._last == b"," and self._open[-1] == b"[")
        if first == b'"':
            return self._last in b"[{:,"
        return True

    def _balance(self, text: bytes) -> bool:
        end = 0
        for token in TOKENS.finditer(text):
            if self.closed:
                return False
            found = token[0]
            if found[:1] == b'"':
                if len(found) == 1 or found[-1:] != b'"' or _escaped(found):
                    return False
            elif found in OPENING:
                self._open.append(found)
            elif not self._open or self._open.pop() != _PAIRS[found]:
                return False
            else:
                self.closed = not self._open
                end = token.end()
        return not self.closed or not text[end:].strip(BLANK + b",")


def _escaped(string: bytes) -> bool:
    """Whether the quote at the end belongs to the string: then the line ends in the middle of it."""
    inner = string[1:-1]
    return (len(inner) - len(inner.rstrip(b"\\"))) % 2 == 1


_BOM = b"\xef\xbb\xbf"
_SEPARATORS = frozenset({b"[", b"]", b",", b"],"})
"""Lines of an array that was printed with one element a line, or more lines: its elements are read one by one."""

_NOTHING_TORN = 2**32
_DEEPEST = 8
"""Documents that were none, one within the other, whose lines may be such again."""


class Position(NamedTuple):
    """How many lines and bytes of the log are done with."""

    line: int = 0
    offset: int = 0


class LogItem(NamedTuple):
    """What was found, and the number of the line that it began in."""

    line: int
    content: Content
    upto: Position = Position()
    """What is done with when this item is; the last item of a line takes the line with it."""


class LogReader:
    """Takes chunks of a log; `settled` is the position up to which everything was given out."""

    def __init__(self, start: Position = Position(), limit: int = MAX_LINE) -> None:  # noqa: B008 - it is immutable
        self.settled = start
        self._lines = LineSplitter(limit, number=start.line, position=start.offset)
        self._limit = limit
        self._document: Document | None = None
        self._indent = 0  # of the document
        self._begun = False  # something opened: the log does not begin in the middle of a document, or did no longer
        self._torn = _NOTHING_TORN  # the indent of a document that was torn
        self._parts = Parts(limit)
        self._spare = 0  # bytes that may still be looked at again
        self._depth = 0
        self._array = False  # a line opened an array, whose elements are read one by one

    def feed(self, chunk: bytes) -> Iterator[LogItem]:
        """What has become whole with this chunk. To be used up before the next one."""
        for line in self._lines.feed(chunk, _whole_values):
            yield from self._take(line)

    def end(self) -> Iterator[LogItem]:
        """The log has ended."""
        for line in self._lines.end():
            yield from self._take(line)
        while self._document is not None:
            yield from (item._replace(upto=self.settled) for item in self._give_up(self._document))
        yield from (LogItem(first, Nothing(TORN), self.settled) for first in self._parts.end())

    def _take(self, line: Line) -> Iterator[LogItem]:
        self._spare = min(self._spare + len(line.data or b"") + 1, 2 * self._limit)
        items, before = list(self._next(line)), self.settled
        if self._document is None and not self._parts:
            self.settled = Position(line.number, line.end)
        for item in items[:-1]:
            yield item._replace(upto=before)
        for item in items[-1:]:
            yield item._replace(upto=self.settled)

    def _next(self, line: Line, *, again: bool = False) -> Iterator[LogItem]:
        """`again`: it belonged to what was no document, and there is no time to try that once more."""
        document = self._document
        if line.data is None:
            if document is not None:
                yield from self._give_up(document)
            yield LogItem(line.number, Nothing(TOO_LONG))
        elif document is None:
            yield from self._fresh(line, again=again)
        elif not document.add(line.data):
            yield from self._give_up(document)
        elif document.closed:
            yield from self._closed(document)

    def _closed(self, document: Document) -> Iterator[LogItem]:
        if values.is_whole(document.data):
            self._document = None
            yield from self._of_value(document.first, document.data, broken=True)
        else:
            yield from self._give_up(document)

    def _give_up(self, document: Document) -> Iterator[LogItem]:
        """It was none: its first line is torn, the others are lines like all others."""
        self._document = None
        if not document.too_long:
            self._torn = self._indent
        yield LogItem(document.first, Nothing(TOO_LONG if document.too_long else TORN))
        cost = document.bytes_behind_the_first
        again = cost > self._spare or self._depth >= _DEEPEST
        self._spare -= 0 if again else cost
        self._depth += 1
        for number, data in document.lines_behind_the_first():
            yield from self._next(Line(number, 0, data), again=again)
        self._depth -= 1

    def _fresh(self, line: Line, *, again: bool) -> Iterator[LogItem]:
        assert line.data is not None
        whole = line.data.lstrip(BLANK).removeprefix(_BOM).lstrip(BLANK)
        text = whole.rstrip(BLANK)
        if not text or text in _SEPARATORS:
            self._array = text == b"[" or (self._array and text in (b"", b","))
            return
        if self._array and text[:1] == b"{" and text[-1:] == b"]":  # the last element, and the end of the array
            self._array = False
            whole = text = text[:-1].rstrip(BLANK)
        indent = len(line.data) - len(line.data.lstrip(b" \t"))
        self._look(text[:1], indent)
        part = container_part(text)
        if part is not None:
            yield from self._of_container(line.number, part)
        elif text[:1] not in b"{[":
            yield from self._of_text(line.number, text)
        elif values.is_whole(text):
            yield from self._of_value(line.number, text, broken=line.broken)
        else:
            yield from self._opened(line.number, whole, indent, again=again)

    def _look(self, first: bytes, indent: int) -> None:
        """What a line tells about a torn document: where it began, if the log does in its middle; that it is over."""
        if first in OPENING and indent <= self._torn:
            self._begun, self._torn = True, _NOTHING_TORN
        elif first == b'"' and indent and not self._begun:
            self._torn = min(self._torn, indent // 2)  # an element of an outermost array is half as deep

    def _opened(self, number: int, line: bytes, indent: int, *, again: bool) -> Iterator[LogItem]:
        """A line that opens what it does not close: the first one of a document, or torn."""
        if indent > self._torn:
            yield LogItem(number, Nothing(TORN))
            return
        document = Document(number, self._limit)
        if again or not document.add(line):
            yield from self._of_text(number, line)
        elif document.closed:  # an element of an array, with a comma behind it
            yield from self._of_text(number, document.data)
        else:
            self._document, self._indent = document, indent

    def _of_container(self, number: int, part: LinePart) -> Iterator[LogItem]:
        joined = self._parts.add(number, part)
        if joined is None:
            return
        if joined.data is None:
            yield LogItem(joined.first, Nothing(TOO_LONG))
        else:
            yield from self._of_text(joined.first, joined.data)

    def _of_text(self, number: int, text: bytes) -> Iterator[LogItem]:
        yield from (LogItem(number, content) for content in contents.of_text(text))

    def _of_value(self, number: int, value: bytes, *, broken: bool) -> Iterator[LogItem]:
        for content in contents.of_value(value):
            if isinstance(content, LoggedList) and len(content.data) == len(value) and broken:
                # As it was recorded: a body ends in a line break.
                yield LogItem(number, LoggedList(value + b"\n", content.events))
            else:
                yield LogItem(number, content)


def _whole_values(text: bytes) -> int:
    """How much of an overlong line are whole values, one behind the other: Firehose writes no line breaks."""
    return values.leading(text)[1]
