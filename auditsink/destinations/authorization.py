"""How an HTTP destination shows who it is: the Authorization header, made anew for each request.

What stands in a file is looked at each time; a token of an OAuth2 server is kept until it runs out or is refused.
"""

from collections.abc import Mapping

from auditsink import config
from auditsink.common.clock import Clock
from auditsink.common.secret import Secret
from auditsink.delivery.settings import Credential, basic
from auditsink.destinations.oauth2 import ClientCredentials, NoToken
from auditsink.http.proxy import ProxyRoute


class Authorization:
    """`headers` before a request. After a 401, if `renew` is true, the same once more."""

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

    def renew(self, shown: Mapping[str, str] | NoToken) -> bool:
        """The other side answered 401 to these headers. True: others can be had."""
        if self._oauth2 is None or not isinstance(shown, Mapping):
            return False
        self._oauth2.refused(shown["Authorization"].removeprefix("Bearer "))
        return True

    async def close(self) -> None:
        """Close connections."""
        if self._oauth2 is not None:
            await self._oauth2.close()
