"""What destinations that speak HTTP or TLS say about their connection: certificates, a proxy, who we are."""

import re
from pathlib import Path
from typing import Literal

from auditsink.common.secret import Secret
from auditsink.config.checks import given, in_the_clear, not_both, url
from auditsink.config.section import Broken, Section

HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
"""A header's name, and an authentication scheme (RFC 9110, 5.6.2: a token)."""
_PROXY = re.compile(r"http://[^/?]+/?\Z")


class ClientTls(Section, frozen=True, kw_only=True):
    """How a destination's certificate is checked, and what we show of ourselves. Re-read when the files change."""

    ca_file: Path | None = None
    server_name: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.cert_file and not self.key_file:
            yield "key_file", "is missing; cert_file needs it"
        if self.key_file and not self.cert_file:
            yield "cert_file", "is missing; key_file needs it"
        if self.insecure_skip_verify and self.ca_file:
            yield "insecure_skip_verify", "contradicts ca_file; remove one of the two"

    @property
    def given(self) -> bool:
        """Whether anything is set."""
        return self != ClientTls()

    def risks(self, key: str) -> Broken:
        """What may happen; `key` is where this section stands."""
        if self.insecure_skip_verify:
            risk = "anybody in between can read and change the trail; name the CA in ca_file"
            yield f"{key}.insecure_skip_verify", risk


class Proxy(Section, frozen=True, kw_only=True):
    """An HTTP proxy on the way. Only this key counts: HTTP_PROXY and its like in the environment do not."""

    url: str
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        mistakes = [*url("url", self.url, tls=False)]
        yield from mistakes
        if not mistakes and not _PROXY.match(self.url):
            yield "url", "has a path or is not http; write http://, a host and a port"
        yield from _name_and_password(self)


class OAuth2(Section, frozen=True, kw_only=True):
    """The client credentials grant (RFC 6749, 4.4)."""

    token_url: str
    client_id: str
    client_secret: Secret | None = None
    client_secret_file: Path | None = None
    send_as: Literal["basic", "post"] = "basic"  # RFC 6749, 2.3.1: every server must take basic
    scope: str | None = None
    audience: str | None = None
    tls: ClientTls = ClientTls()

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from url("token_url", self.token_url, tls=self.tls.given)
        yield from not_both(self, "client_secret", "client_secret_file")
        if not given(self, "client_secret") and not given(self, "client_secret_file"):
            yield "client_secret_file", "is missing; name a file that holds the secret (or set client_secret)"
        if not self.client_id:
            yield "client_id", "is empty; write the id that the token server knows"

    def risks(self, key: str) -> Broken:
        """What may happen; `key` is where this section stands."""
        yield from self.tls.risks(f"{key}.tls")
        if in_the_clear(self.token_url):
            yield f"{key}.token_url", "is plain http: the client's secret travels in the clear; use https"


class HttpAuth(Section, frozen=True, kw_only=True):
    """How to show who we are: a bearer token, a name and password, or a token of an OAuth2 server."""

    scheme: str = "Bearer"  # the word before the token
    bearer: Secret | None = None
    bearer_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None
    oauth2: OAuth2 | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from not_both(self, "bearer", "bearer_file")
        yield from _name_and_password(self)
        if not HEADER.match(self.scheme):
            yield "scheme", "is no word that can stand before a token; write Bearer, ApiKey or the like"
        ways = {
            "bearer": given(self, "bearer") or given(self, "bearer_file"),
            "username": bool(self.username),
            "oauth2": self.oauth2 is not None,
        }
        first, *others = [way for way, used in ways.items() if used] or [""]
        for other in others:
            yield other, f"contradicts {first}: show one credential; remove one of the two"


def _name_and_password(section: HttpAuth | Proxy) -> Broken:
    yield from not_both(section, "password", "password_file")
    has_password = given(section, "password") or given(section, "password_file")
    if section.username and not has_password:
        yield "password_file", "is missing; username needs it (or password)"
    if has_password and not section.username:
        yield "username", "is missing; a password needs it"
    if section.username and ":" in section.username:
        yield "username", "holds a colon, which ends a user name on the wire (RFC 7617); no server can tell them apart"
