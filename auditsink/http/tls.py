"""TLS to a destination: which certificate to trust, which name to expect, what to show of ourselves.

Certificates are renewed under a running sink, so the files are looked at each time a context is asked for. A renewal
half done (a new certificate beside the old key) keeps the last good context in use.
"""

import logging
import os
import ssl
from typing import Any

from auditsink.common.blocking import StuckError
from auditsink.common.watch import FileWatch
from auditsink.config import ClientTls
from auditsink.delivery.destination import DestinationError

_log = logging.getLogger(__name__)


class NamedContext(ssl.SSLContext):
    """A context that asks for and verifies a name of its own, whatever host is connected to.

    Here and not at each client: aiokafka has no such option, and asyncio reaches every context through `wrap_bio`.
    """

    expected_name: str | None = None

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        if self.expected_name is not None:
            named["server_hostname"] = self.expected_name
        return super().wrap_bio(*args, **named)


class Tls:
    """The settings of one destination as a context that follows its files."""

    def __init__(self, config: ClientTls, where: str) -> None:
        """`where` is the path of the section (`destinations[siem].tls`). Raises DestinationError."""
        self._config = config
        self._where = where
        self._files = FileWatch([one for one in (config.ca_file, config.cert_file, config.key_file) if one is not None])
        self._complained: str | None = None
        if config.insecure_skip_verify:
            _log.warning("%s.insecure_skip_verify: anybody in between can read and change the audit trail", where)
        try:
            self._context = self._build()
        except OSError as problem:
            raise DestinationError(f"{where}.{self._explain(problem)}") from None

    def context(self) -> ssl.SSLContext:
        """For the next connection: another object when a file has changed."""
        try:
            built = self._files.rebuilt(self._built_again)
        except StuckError:
            built = "the disk of its files does not answer"
        if isinstance(built, str):
            self._complain(built)
        elif built is not None:
            self._context, self._complained = built, None
        return self._context

    def _complain(self, why: str) -> None:
        if why != self._complained:
            self._complained = why
            _log.warning("%s.%s; the last good files stay in use", self._where, why)

    def _built_again(self) -> ssl.SSLContext | str:
        """The context of the files as they are now, or why there is none. Blocks."""
        try:
            return self._build()
        except OSError as problem:
            return self._explain(problem)

    def _build(self) -> ssl.SSLContext:
        config = self._config
        context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.expected_name = config.server_name
        if config.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif config.ca_file is not None:
            context.load_verify_locations(config.ca_file)
        else:
            context.load_default_certs()
        if config.cert_file is not None:
            # An empty password: an encrypted key is an error, not a question on the terminal.
            context.load_cert_chain(config.cert_file, config.key_file, password="")
        return context

    def _explain(self, problem: OSError) -> str:
        config = self._config
        for key, file in (("ca_file", config.ca_file), ("cert_file", config.cert_file), ("key_file", config.key_file)):
            if file is not None and not os.access(file, os.R_OK):
                return f"{key}: {file}: cannot be read; check the path and its permissions"
        if config.cert_file is None:
            return f"ca_file: {config.ca_file}: holds no certificate ({_reason(problem)}); write PEM into it"
        return (
            f"cert_file: {config.cert_file}: cannot be used with its key ({_reason(problem)}); "
            "write a PEM certificate and its unencrypted key"
        )


def _reason(problem: OSError) -> str:
    return getattr(problem, "reason", None) or problem.strerror or type(problem).__name__
