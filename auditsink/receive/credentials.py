"""The files that say who may post, looked at again and again: the clusters', and the certificates of TLS."""

from auditsink import config
from auditsink.clusters.registry import Registry
from auditsink.receive.certificates import Certificates


class Credentials:
    """What is in force now. A file that cannot be used any more changes nothing but `problems`."""

    def __init__(self, settings: config.Receive, registry: Registry) -> None:
        """Raises ReceiveError."""
        self.certificates = None if settings.tls is None else Certificates(settings.tls)
        self._registry = registry

    @property
    def any(self) -> bool:
        """Whether there is a file to look at."""
        return self._registry.watches or self.certificates is not None

    def poll(self) -> bool:
        """Look at the files; True when something new is in force. Reads disks: run it in a thread."""
        clusters = self._registry.watches and self._registry.poll()
        certificates = self.certificates is not None and self.certificates.changed()
        return clusters or certificates

    @property
    def problems(self) -> tuple[str, ...]:
        """Why something in a file is not in force, a sentence each."""
        certificates = self.certificates.problem if self.certificates is not None else None
        return (*self._registry.problems, *([certificates] if certificates else []))
