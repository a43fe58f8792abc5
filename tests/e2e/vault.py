"""Every kind of secret that a sink can have, each where an operator would put it."""

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


class Vault:
    """Secrets by name, and the files that hold them. All are made anew for each test."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.values: dict[str, str] = {}
        place.mkdir()

    def token(self, name: str) -> str:
        """A random one that a header can carry, with letters that URLs and base64 do not like."""
        self.values[name] = f"tok+{secrets.token_urlsafe(18)}/%?=~"
        return self.values[name]

    def password(self, name: str) -> str:
        """A random one that needs escapes wherever it is put."""
        self.values[name] = f'pa:s "s\\ & é{secrets.token_urlsafe(12)}'
        return self.values[name]

    def file(self, name: str, content: str) -> str:
        """The path of a new file."""
        path = self.place / name
        path.write_text(content + "\n")
        path.chmod(0o600)
        return str(path)

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """What must show nowhere: each secret, plain and as it may be written."""
        for name, value in self.values.items():
            for form in _written(value):
                yield name, form.encode()


def _written(value: str) -> set[str]:
    """A secret as it may stand in a text: plain, escaped, percent-encoded, in base64 with anything around it."""
    raw = value.encode()
    plain = {value, value.replace("\\", "\\\\").replace('"', '\\"'), ascii(value)[1:-1]}
    percent = {quote(value), quote(value, safe=""), quote_plus(value)}
    cores = {_core(before + raw, before) for before in (b"", b"x", b"xx")}
    return plain | percent | cores | {one.translate({43: "-", 47: "_"}) for one in cores} | {raw.hex()}


def _core(text: bytes, before: bytes) -> str:
    """The characters of base64 that `before`, and what follows the text, have no part in."""
    start = -(-len(before) * 8 // 6)
    return base64.b64encode(text).decode()[start : len(text) * 8 // 6]


def sections(vault: Vault, place: Path) -> dict[str, Any]:
    """All of a configuration but the destinations, with all the secrets that it can name."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(vault.place / "ca.pem")
    for name in ("127.0.0.1", "apiserver"):
        issued = ca.issue_cert(name)
        (vault.place / f"{name}.key").write_bytes(issued.private_key_pem.bytes())
        issued.cert_chain_pems[0].write_to_path(vault.place / f"{name}.pem")
    _keep(vault, "TLS key", (vault.place / "127.0.0.1.key").read_text())
    signing = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    _keep(vault, "signing key", signing)
    key = vault.values["encryption key"] = base64.b64encode(secrets.token_bytes(32)).decode()
    tls = {"cert_file": "127.0.0.1.pem", "key_file": "127.0.0.1.key", "client_ca_file": "ca.pem"}
    tokens = f"prod {vault.token('token of prod')}\ntest {vault.token('token of test')}"
    return {
        "receive": {
            "tls": {name: str(vault.place / file) for name, file in tls.items()},
            "tokens_file": vault.file("tokens", tokens),
        },
        "spool": {"encryption": {"key_file": vault.file("spool.keys", f"k1 {key}")}},
        "evidence": {
            "path": str(place / "checkpoints.ndjson"),
            "key_file": vault.file("evidence.pem", signing),
            "every": "1s",
        },
        "admin": {"listen": "127.0.0.1:0", "token_file": vault.file("admin", vault.token("admin token"))},
        "log": {"level": "debug"},
    }


def _keep(vault: Vault, name: str, pem: str) -> None:
    """The longest line of a PEM key stands for it."""
    vault.values[name] = max(pem.splitlines()[1:-1], key=len)
