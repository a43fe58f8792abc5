"""What destinations that speak HTTP or TLS say about their connection: certificates, a proxy, who we are."""

from pathlib import Path
from typing import Literal

from auditsink.common.secret import Secret
from auditsink.config.section import Section


class ClientTls(Section, frozen=True, kw_only=True):
    """How a destination's certificate is checked, and what we show of ourselves. Re-read when the files change."""

    ca_file: Path | None = None
    server_name: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False


class Proxy(Section, frozen=True, kw_only=True):
    """An HTTP proxy on the way. Only this key counts: HTTP_PROXY and its like in the environment do not."""

    url: str
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None


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


class HttpAuth(Section, frozen=True, kw_only=True):
    """How to show who we are: a bearer token, a name and password, or a token of an OAuth2 server."""

    scheme: str = "Bearer"  # the word before the token
    bearer: Secret | None = None
    bearer_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None
    oauth2: OAuth2 | None = None
