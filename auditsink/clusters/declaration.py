"""One declaration of a cluster and the tokens in its file: what is wanted, and what of it is on the roll."""

from dataclasses import dataclass

from auditsink.clusters.cluster_set import Entries
from auditsink.clusters.tokens import TokenFile, Tokens, digest, tokens_of
from auditsink.config import Cluster


@dataclass(slots=True)
class Declaration:
    """`origin`: the key or the file that declares it. `refused`: why what is wanted is not on the roll."""

    origin: str
    wanted: Cluster
    refused: str | None = None
    _entered: tuple[Cluster, Tokens] | None = None
    _file: TokenFile | None = None

    @property
    def problems(self) -> list[str]:
        """A sentence each."""
        found = [] if self.refused is None else [f"{self.origin}: {self.refused}"]
        return found + ([f"{self.origin}: token_file: {self._file.error}"] if self._file and self._file.error else [])

    def look(self) -> None:
        """Look at the token file. Reads the disk."""
        path = self.wanted.token_file
        if path is None:
            self._file = None
        elif self._file is None or self._file.path != path:
            self._file = TokenFile(path, tokens_of(self.wanted.name))
        else:
            self._file.changed()

    def enter(self, entries: Entries) -> bool:
        """Put what is wanted on the roll, in place of what stands there; True when the roll is another one now.

        If it cannot be there, what stands there stays.
        """
        wanted = (self.wanted, self._tokens())
        if wanted == self._entered:
            self.refused = None
            return False
        before = self._entered
        self.leave(entries)
        self.refused = entries.enter(*wanted)
        if self.refused is None:
            self._entered = wanted
        elif before is not None:
            entries.enter(*before)
            self._entered = before
        return self._entered != before

    def leave(self, entries: Entries) -> None:
        """Take it off the roll."""
        if self._entered is not None:
            entries.leave(*self._entered)
            self._entered = None

    def _tokens(self) -> Tokens:
        name = self.wanted.name
        tokens = {digest(token.reveal().encode()): name for token in self.wanted.tokens}
        # A file's tokens were read for the name of that time.
        return tokens | (dict.fromkeys(self._file.tokens, name) if self._file is not None else {})
