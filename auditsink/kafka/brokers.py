"""How to get in to a Kafka cluster: addresses, TLS, SASL, and which server answers first.

aiokafka's own start hides why no server lets it in, so each one is called before; whoever needs a client (a producer, a
member of a group) gets what it is to be started with.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.conn import create_conn

from auditsink.config import KafkaSecurity
from auditsink.delivery.settings import Credential
from auditsink.http.tls import Tls
from auditsink.kafka.errors import ErrorMeaning, classify

# aiokafka logs every failed connection at ERROR, several times a second. Outcomes tell it once.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class BrokerSettings(NamedTuple):
    """`where`: the path of the section in the file, for messages. `timeout`: seconds of a whole attempt."""

    where: str
    servers: Sequence[str]
    security: KafkaSecurity
    timeout: float


class Brokers:
    """One cluster, and the credentials for it, which are read again when their files change."""

    def __init__(self, settings: BrokerSettings) -> None:
        """Raises DestinationError."""
        security, where = settings.security, f"{settings.where}.security"
        self._settings = settings
        self._tls = None if security.tls is None else Tls(security.tls, f"{where}.tls")
        self._password = (
            Credential(f"{where}.password", security.password, security.password_file, header_safe=False)
            if security.mechanism
            else None
        )

    def __repr__(self) -> str:
        return f"<Brokers {', '.join(self._settings.servers)}>"

    @property
    def timeout(self) -> float:
        """Seconds of a whole attempt."""
        return self._settings.timeout

    async def client_arguments(self) -> dict[str, Any]:
        """What a client is made with: the server that answers first, and how to get in.

        Raises what kept it from connecting (OSError, KafkaError, TimeoutError).
        """
        connection = self._connection()
        return {"bootstrap_servers": await self._knock(connection), **connection}

    def _connection(self) -> dict[str, Any]:
        security = self._settings.security
        sasl, ssl = self._password is not None, self._tls is not None
        return {
            "client_id": "auditsink",
            # A broker that does not answer must be found out before an attempt's own end.
            "request_timeout_ms": max(1, int(self.timeout * 500)),
            "security_protocol": f"{'SASL_' if sasl else ''}{'SSL' if ssl else 'PLAINTEXT'}",
            "ssl_context": self._tls.context() if self._tls else None,
        } | (
            {
                "sasl_mechanism": security.mechanism,
                "sasl_plain_username": security.username,
                "sasl_plain_password": self._password.reveal(),
            }
            if self._password
            else {}
        )

    async def _knock(self, connection: dict[str, Any]) -> str:
        """The server that answers first, logged in to. The client's own start would hide why none does."""
        calls = [asyncio.create_task(_call(server, connection)) for server in self._settings.servers]
        problem: BaseException = OSError("no bootstrap server")
        try:
            for call in asyncio.as_completed(calls):
                try:
                    return await call
                except (OSError, RuntimeError, ValueError) as refused:
                    # What a person can mend says more than that another server is down.
                    if classify(problem)[0] is ErrorMeaning.RETRY:
                        problem = refused
        finally:
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        raise problem


async def _call(server: str, connection: dict[str, Any]) -> str:
    host, _, port = server.rpartition(":")
    try:
        called = await create_conn(host.strip("[]"), int(port), **connection)
    except Exception as problem:
        problem.add_note(server)
        raise
    called.close()
    return server
