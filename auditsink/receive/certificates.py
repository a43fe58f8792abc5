"""The receive port's TLS: contexts out of the three files, built again when one of them changes.

A context serves the connections that begin while it is the current one; those that are open end with their next
answer. So no request fails when a certificate is renewed, and nobody stays in whose CA was taken out. A session can be
resumed with its own context only, so neither does a ticket outlive the CA. A renewal half done, or a broken file,
changes nothing.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditsink.common.secret import UnreadableFileError, WatchedFile
from auditsink.config import ServerTls
from auditsink.receive.auth import NOBODY, Peer
from auditsink.receive.errors import ReceiveError

_KEY = "receive.tls"
_KEPT = "the last good files stay in use"
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secret and authenticated, as all of 1.3's are (RFC 9325, 4.2); Go's client offers them first."""


class Certificates:
    """The current `context`, and the `problem` with files that changed. `changed` may run in any thread."""

    def __init__(self, tls: ServerTls) -> None:
        """Raises ReceiveError."""
        self._tls = tls
        files = {"cert_file": tls.cert_file, "key_file": tls.key_file, "client_ca_file": tls.client_ca_file}
        self._files: dict[str, WatchedFile[bytes]] = {}
        for key, path in files.items():
            if path is not None:
                try:
                    self._files[key] = WatchedFile(path, bytes)
                except UnreadableFileError as problem:
                    raise ReceiveError(f"{_KEY}.{key} {problem}") from None
        self.context = _build(tls)
        self.problem: str | None = None

    def changed(self) -> bool:
        """Look at the files; True when `context` is a new one. `problem` says why it is not, after a change."""
        changed = [watched.changed() for watched in self._files.values()]
        unreadable = [f"{_KEY}.{key} {watched.error}" for key, watched in self._files.items() if watched.error]
        if unreadable:
            self.problem = f"{unreadable[0]}; {_KEPT}"
        elif any(changed) or self.problem:
            try:
                self.context = _build(self._tls)
            except ReceiveError as problem:
                self.problem = f"{problem}; {_KEPT}"
            else:
                self.problem = None
                return True
        return False


def _build(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    # No tickets: who resumes a session shows no certificate, and it may have run out since. apiservers ask for none.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password: an encrypted key is an error, not a question on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError as problem:
        raise ReceiveError(_unusable_pair(tls, problem)) from None
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except OSError as problem:
            why = f"holds no certificate that can be used ({_reason(problem)}); write the client CA's PEM into it"
            raise ReceiveError(f"{_KEY}.client_ca_file {tls.client_ca_file}: {why}") from None
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_certificates == "required" else ssl.CERT_OPTIONAL
    return context


def _unusable_pair(tls: ServerTls, problem: OSError) -> str:
    key_text = _text(tls.key_file)
    if "-----BEGIN CERTIFICATE-----" not in _text(tls.cert_file):
        return f"{_KEY}.cert_file {tls.cert_file}: holds no certificate; write a PEM certificate chain into it"
    if "PRIVATE KEY-----" not in key_text:
        return f"{_KEY}.key_file {tls.key_file}: holds no private key; write the certificate's PEM key into it"
    if "ENCRYPTED" in key_text:
        return f"{_KEY}.key_file {tls.key_file}: is encrypted; write the key without a passphrase"
    if getattr(problem, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{_KEY}.key_file {tls.key_file}: does not belong to the certificate in {tls.cert_file}"
    return f"{_KEY}.cert_file {tls.cert_file}: cannot be used with its key ({_reason(problem)}); write both as PEM"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError:
        return ""


def _reason(problem: OSError) -> str:
    return getattr(problem, "reason", None) or problem.strerror or type(problem).__name__


_KINDS = {"DNS": "dns", "URI": "uri", "email": "email"}


def peer_of(certificate: Mapping[str, Any] | None) -> Peer:
    """What a verified certificate proves; `certificate` is what `ssl.SSLObject.getpeercert` gives.

    Names are compared as they stand, but DNS names in lower case (RFC 4343). Every name counts, so that one with the
    names of two clusters contradicts itself.
    """
    if not certificate:
        return NOBODY
    names = [f"cn:{value}" for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in _KINDS:
            names.append(f"{_KINDS[kind]}:{value.lower() if kind == 'DNS' else value}")
    return Peer(name_in(certificate), tuple(names))


def name_in(certificate: Mapping[str, Any] | None) -> str:
    """The name that a verified certificate proves: its subject's CN, else its first alternative name, else "".

    `certificate` is what `ssl.SSLObject.getpeercert` gives. Control characters become "?", and 200 characters suffice.
    """
    if not certificate:
        return ""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    names += [value for _, value in certificate.get("subjectAltName", ())]
    return "".join(letter if letter.isprintable() else "?" for letter in next(iter(names), ""))[:200]
