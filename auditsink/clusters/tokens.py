"""Bearer tokens: digests of them, and the files that they stand in.

Tokens are looked up by a digest that is keyed with a random key of this process. The key makes the time of the lookup
say nothing about any token: nobody outside can know, let alone steer, how the digest of a guess compares with the
digests that are stored, so there is no "nearly right" to be measured. Only digests are held.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.common.watch import Stamp, content, stamp

_KEY = secrets.token_bytes(32)
_PAIR = 'write "cluster token", one pair a line'
_LOOKS = 2
"""Times in a row that a file must be found without a token before that counts: one look may fall between the moment
an editor empties a file and the one in which it writes it again."""

Tokens = Mapping[bytes, str]
"""The cluster that each token stands for, by the token's digest."""


def digest(token: bytes) -> bytes:
    """What stands for a token wherever one is held."""
    return hashlib.blake2b(token, key=_KEY, digest_size=32).digest()


def parse_tokens(content: bytes) -> Tokens:
    """Read `cluster token` lines; `#` begins a comment line. Raises ValueError with the line and never the token."""
    found: dict[bytes, str] = {}
    for number, words in _lines(content):
        if len(words) != 2:
            raise ValueError(f"line {number} has {len(words)} words; {_PAIR}")
        cluster = words[0].decode("latin-1")
        if not CLUSTER.match(cluster):
            raise ValueError(f"line {number} begins with no cluster's name; {CLUSTER_RULE}")
        if found.setdefault(digest(_usable(number, words[1])), cluster) != cluster:
            raise ValueError(f"line {number} repeats another cluster's token; a token must name one cluster")
    return found


def tokens_of(cluster: str) -> Callable[[bytes], Tokens]:
    """A parser for a file with this cluster's tokens, one a line."""

    def parse(content: bytes) -> Tokens:
        found: dict[bytes, str] = {}
        for number, words in _lines(content):
            if len(words) != 1:
                raise ValueError(f"line {number} has {len(words)} words; write one token a line")
            found[digest(_usable(number, words[0]))] = cluster
        return found

    return parse


def _lines(content: bytes) -> Iterator[tuple[int, list[bytes]]]:
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith(b"#"):
            yield number, words


def _usable(number: int, token: bytes) -> bytes:
    if not (token.isascii() and token.decode().isprintable()):
        raise ValueError(f"line {number} has a token that no header can carry; use printable ASCII")
    return token


class TokenFile:
    """The tokens of a file that may change at any moment. `changed` may run in any thread.

    A file that is emptied or removed revokes its tokens, as soon as that is no passing state. One that cannot be read
    or understood changes nothing: it is half written, or a mistake. Either way `error` says so.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], Tokens]) -> None:
        """Reads it; where that gives no token, `error` says why."""
        self.path = path
        self.tokens: Tokens = {}
        self.error: str | None = None
        self._parse = parse
        self._stamp: Stamp | None = None
        self._empty = 0
        self.changed()

    def changed(self) -> bool:
        """Look at the file, and read it when it is another one now; True when other tokens are in force."""
        try:
            seen = stamp(self.path)
            if seen == self._stamp:
                return False
            tokens = self._parse(content(self.path))
        except FileNotFoundError:
            return self._gone("is not there")
        except OSError as problem:
            return self._unusable(f"{problem.strerror or 'cannot be read'}; check its permissions")
        except ValueError as problem:
            return self._unusable(str(problem))
        if not tokens:
            return self._gone("holds no token")
        self._stamp, self._empty, self.error = seen, 0, None
        different, self.tokens = tokens != self.tokens, tokens
        return different

    def _gone(self, why: str) -> bool:
        self._stamp = None
        self._empty += 1
        if self.tokens and self._empty < _LOOKS:
            return False
        had, self.tokens = self.tokens, {}
        self.error = f"{self.path}: {why}, so none is valid; write one into it to let its owner in"
        return bool(had)

    def _unusable(self, why: str) -> bool:
        self._stamp, self._empty = None, 0
        self.error = f"{self.path}: {why}; the last good tokens stay in force"
        return False
