"""The files that say who may post, looked at again and again: tokens, and the certificates of TLS."""

from auditsink import config
from auditsink.receive.auth import Tokens, parse_tokens
from auditsink.receive.certificates import Certificates
from auditsink.receive.errors import ReceiveError
from auditsink.secret import UnreadableFileError, WatchedFile

_TOKENS = "receive.tokens_file"


class Credentials:
    """What is in force now. A file that cannot be used any more changes nothing but `problems`."""

    def __init__(self, settings: config.Receive) -> None:
        """Raises ReceiveError."""
        self.certificates = None if settings.tls is None else Certificates(settings.tls)
        self.tokens: WatchedFile[Tokens] | None = None
        if settings.tokens_file is not None:
            try:
                self.tokens = WatchedFile(settings.tokens_file, parse_tokens)
            except UnreadableFileError as problem:
                raise ReceiveError(f"{_TOKENS} {problem}") from None

    @property
    def any(self) -> bool:
        """Whether there is a file to look at."""
        return self.tokens is not None or self.certificates is not None

    def poll(self) -> bool:
        """Look at the files; True when something new is in force. Reads disks: run it in a thread."""
        tokens = self.tokens is not None and self.tokens.changed()
        certificates = self.certificates is not None and self.certificates.changed()
        return tokens or certificates

    @property
    def problems(self) -> tuple[str, ...]:
        """Why a changed file is not in force, a sentence each."""
        tokens = self.tokens.error if self.tokens is not None else None
        certificates = self.certificates.problem if self.certificates is not None else None
        found = (tokens and f"{_TOKENS} {tokens}; the last good tokens stay in force", certificates)
        return tuple(problem for problem in found if problem)
