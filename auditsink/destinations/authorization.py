"""How an HTTP destination shows who it is: the Authorization header, made anew for each request.

What stands in a file is looked at each time; a token of an OAuth2 server is kept until it runs out or is refused.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus, urlencode

import msgspec

from auditsink import config
from auditsink.common.clock import Clock
from auditsink.common.secret import HEADER_SAFE, Secret
from auditsink.delivery.outcome import Misconfigured, Retry, RetryCause
from auditsink.delivery.settings import Credential, basic, checked_url
from auditsink.http.answers import HttpAnswer, by_status, foreign
from auditsink.http.client import Client, TransportProblem
from auditsink.http.proxy import ProxyRoute
from auditsink.http.tls import Tls

_MARGIN = 60.0  # seconds before its end in which a token is fetched anew, but at most half of its life
_SECOND_TRY = 10.0  # seconds until the server is asked again while the old token is still good
_OLD_ENOUGH = 60.0  # seconds: a token that young has not run out, so a 403 to it is about rights
_PASSING = frozenset({"temporarily_unavailable", "server_error"})

NoToken = Retry | Misconfigured


class Token(NamedTuple):
    """What the server gave. `lifetime`: seconds, None if it does not say."""

    value: Secret
    lifetime: float | None


class _Granted(msgspec.Struct):
    access_token: str = ""
    token_type: str = "Bearer"  # noqa: S105 - the type, not a token
    expires_in: float | None = None


class _Refused(msgspec.Struct):
    error: str = ""
    error_description: str = ""


_decode_granted = msgspec.json.Decoder(_Granted, strict=False).decode  # some write "3600"
_decode_refused = msgspec.json.Decoder(_Refused).decode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError)


def read(answer: HttpAnswer) -> Token | NoToken:
    """What the answer of a token server means (RFC 6749, 5.1 and 5.2). Pure; shows no token."""
    if answer.status == 200:
        return _granted(answer.body)
    try:
        said = _decode_refused(answer.body)
    except _UNREADABLE:
        said = _Refused()
    if answer.status in (400, 401) and said.error and said.error not in _PASSING:
        told = foreign(f"{said.error} {said.error_description}")
        return Misconfigured(f"the token server refuses: {told}; check auth.oauth2")
    found = by_status(answer.status, answer.headers)
    if isinstance(found, Retry) or said.error in _PASSING:
        said_by = f"the token server answers HTTP {answer.status} {foreign(said.error)}".rstrip()
        return Retry(said_by, cause=RetryCause.ELSEWHERE)
    return Misconfigured(f"the token server answers HTTP {answer.status}; check auth.oauth2.token_url")


def _granted(body: bytes) -> Token | NoToken:
    try:
        granted = _decode_granted(body)
    except _UNREADABLE:
        return Misconfigured("what answers at auth.oauth2.token_url is no token server")
    if not HEADER_SAFE.fullmatch(granted.access_token) or granted.token_type.lower() != "bearer":
        return Misconfigured("the token server gives no bearer token; check auth.oauth2")
    return Token(Secret(granted.access_token), granted.expires_in)


class ClientCredentials:
    """One client's token at one server (RFC 6749, 4.4), fetched anew before it runs out.

    Our own, because the libraries bring an HTTP client of their own and none asks for a token without blocking the
    loop; the grant itself is one POST.
    """

    def __init__(
        self, section: config.OAuth2, where: str, clock: Clock, *, timeout: float, proxy: ProxyRoute | None
    ) -> None:
        """`where` is the path of the section (`destinations[hook].auth.oauth2`). Raises DestinationError."""
        self._config = section
        self._url = checked_url(f"{where}.token_url", section.token_url)
        self._secret = Credential(
            f"{where}.client_secret", section.client_secret, section.client_secret_file, header_safe=False
        )
        tls = Tls(section.tls, f"{where}.tls") if self._url.startswith("https:") else None
        self._client = Client(self._url, tls, timeout=timeout, connections=1, proxy=proxy)
        self._clock = clock
        self._turn = asyncio.Lock()
        self._token: Secret | None = None
        self._fresh_until = self._good_until = self._fetched_at = 0.0

    async def token(self) -> Secret | NoToken:
        """The token, fetched if there is none that will last."""
        async with self._turn:
            if self._token is not None and self._clock.monotonic() < self._fresh_until:
                return self._token
            found = await self._fetch()
            now = self._clock.monotonic()
            if isinstance(found, Token):
                return self._keep(found, now)
            if self._token is not None and now < self._good_until:
                self._fresh_until = now + _SECOND_TRY
                return self._token
            return found

    def refused(self, value: str, status: int) -> bool:
        """The destination did not take this token: another one is fetched, unless that has happened already.

        False where another one would not help. Some services (Azure's among them) say 403 to a token that has run out.
        """
        if self._token is not None and self._token.reveal() == value:
            if status == 403 and self._clock.monotonic() - self._fetched_at < _OLD_ENOUGH:
                return False
            self._token = None
        return True

    async def close(self) -> None:
        """Close the connection to the token server."""
        await self._client.close()

    def _keep(self, token: Token, now: float) -> Secret:
        lifetime = float("inf") if token.lifetime is None else token.lifetime
        self._token = token.value
        self._fetched_at = now
        self._good_until = now + lifetime
        self._fresh_until = self._good_until - min(_MARGIN, lifetime / 2)
        return token.value

    async def _fetch(self) -> Token | NoToken:
        section, secret = self._config, self._secret.reveal()
        form = {"grant_type": "client_credentials", "scope": section.scope, "audience": section.audience}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if section.send_as == "post":
            form |= {"client_id": section.client_id, "client_secret": secret}
        else:
            pair = f"{quote_plus(section.client_id)}:{quote_plus(secret)}"  # encoded as a form is: RFC 6749, 2.3.1
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        body = urlencode({key: value for key, value in form.items() if value}, quote_via=quote).encode()
        answer = await self._client.post(self._url, body, headers)
        if isinstance(answer, TransportProblem):
            why = f"no token from the token server: {answer.why}"
            return Misconfigured(why) if answer.lasting else Retry(why, cause=RetryCause.ELSEWHERE)
        return read(answer)


class Authorization:
    """`headers` before a request. After a 401 or 403, if `renew` is true, the same once more."""

    def __init__(
        self, auth: config.HttpAuth, where: str, clock: Clock, *, timeout: float, proxy: ProxyRoute | None
    ) -> None:
        """`where` is the path of the section (`destinations[hook].auth`). Raises DestinationError."""
        self._basic = basic(auth, where)
        self._scheme = auth.scheme
        self._bearer: Credential | None = None
        self._oauth2: ClientCredentials | None = None
        if auth.bearer is not None or auth.bearer_file is not None:
            self._bearer = Credential(f"{where}.bearer", auth.bearer, auth.bearer_file, header_safe=True)
        if auth.oauth2 is not None:
            self._oauth2 = ClientCredentials(auth.oauth2, f"{where}.oauth2", clock, timeout=timeout, proxy=proxy)

    async def headers(self) -> Mapping[str, str] | NoToken:
        """What a request carries, or why it cannot be sent."""
        if self._oauth2 is not None:
            token = await self._oauth2.token()
            return {"Authorization": f"Bearer {token.reveal()}"} if isinstance(token, Secret) else token
        if self._bearer is not None:
            return {"Authorization": f"{self._scheme} {self._bearer.reveal()}"}
        return {} if self._basic is None else {"Authorization": self._basic()}

    def renew(self, shown: Mapping[str, str] | NoToken, status: int) -> bool:
        """The other side answered 401 or 403 to these headers. True: others can be had."""
        if self._oauth2 is None or not isinstance(shown, Mapping) or status not in (401, 403):
            return False
        return self._oauth2.refused(shown["Authorization"].removeprefix("Bearer "), status)

    async def close(self) -> None:
        """Close the connections to the token server."""
        if self._oauth2 is not None:
            await self._oauth2.close()
