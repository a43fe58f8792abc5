"""A server that says every credential it is shown back to whoever showed it, in all the ways that servers do."""

import base64
import binascii
import json
from urllib.parse import parse_qs, quote, unquote_plus

from auditsink.testing.scripted import Received, Reply, ScriptedServer

MARK = "parrot says"
"""Begins what it answers: where this is shown, its text got through."""


class Parrot(ScriptedServer):
    """The last part of a request's path says how it answers: a status, or the name of an API.

    `heard`: every secret that was shown to it, taken out of its wrapping.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[str] = set()

    async def respond(self, request: Received) -> Reply:
        """A refusal that quotes what was shown."""
        shown = list(_shown(request))
        self.heard.update(secret for _, secret in shown)
        said = " ".join(
            f"{MARK} {secret} {wire} {quote(secret, safe='')} {base64.b64encode(secret.encode()).decode()}"
            for wire, secret in shown
        )
        return _answer(request.path.partition("?")[0].rpartition("/")[2], said)


def _shown(request: Received) -> list[tuple[str, str]]:
    """Each credential of a request: as it stood on the wire, and the secret in it."""
    wires = [request.headers[name] for name in ("authorization", "proxy-authorization") if name in request.headers]
    found = [(wire, _unwrapped(wire)) for wire in wires]
    if request.path == "/token":
        found = [(wire, unquote_plus(secret)) for wire, secret in found]  # RFC 6749, 2.3.1
    form = parse_qs(request.body.decode("latin-1"))
    return found + [(one, one) for one in form.get("client_secret", [])]


def _unwrapped(wire: str) -> str:
    _, _, value = wire.partition(" ")
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] if wire.startswith("Basic") else value
    except (binascii.Error, UnicodeDecodeError):
        return value


def _answer(kind: str, said: str) -> Reply:
    if kind == "redirect":
        return Reply(302, said.encode(), {"Location": f"http://127.0.0.1:1/?{quote(said)}"})
    if kind in _DOCUMENTS:
        status, document = _DOCUMENTS[kind]
        return Reply(status, document.replace("SAID", json.dumps(said)[1:-1]).encode())
    return Reply(int(kind) if kind.isdigit() else 500, said.encode())


_DOCUMENTS = {
    "_bulk": (
        200,
        '{"errors":true,"items":[{"create":{"status":400,"error":{"type":"mapper_parsing","reason":"SAID"}}}]}',
    ),
    "token": (401, '{"error":"invalid_client","error_description":"SAID"}'),
    "event": (403, '{"code":4,"text":"SAID"}'),  # Splunk's
    "health": (200, '{"code":17,"text":"HEC is healthy"}'),
    "push": (400, "SAID"),  # Loki's
}
"""Status and body of the last part of a path."""
