"""The producer behind the Kafka destination: started when it is first needed, thrown away when anything went wrong.

An idempotent producer numbers its batches. After a batch that failed for good its next number is wrong, and after one
that timed out aiokafka would go on trying for ever behind our back. In both cases the only clean state is a new
producer. Throwing one away must not wait for a dead broker, and aiokafka has no public way to do that: what
`_dispose` touches is all that is used beyond its documented interface.
"""

import asyncio
import contextlib
import logging
from itertools import chain

from aiokafka import AIOKafkaProducer
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaTimeoutError

from auditsink.config import KafkaConfig
from auditsink.delivery.settings import Credential, key
from auditsink.destinations.kafka_errors import ErrorMeaning, classify
from auditsink.destinations.kafka_topics import Topics
from auditsink.http.tls import Tls

_TRANSACTION_SECONDS = 60.0
_GOODBYE = 3.0  # seconds that closing may take when the brokers do not answer

# aiokafka logs every failed connection at ERROR, several times a second. Outcomes tell it once.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class ProducerLink:
    """At most one started producer. Belongs to one event loop."""

    def __init__(self, config: KafkaConfig, *, batch_bytes: int, transactional_id: str | None = None) -> None:
        """`batch_bytes`: the size before compression at which a batch is full. Raises DestinationError."""
        security = config.security
        self._transactional_id = transactional_id
        self._config = config
        self.batch_bytes = batch_bytes
        self._tls = None if security.tls is None else Tls(security.tls, key(config, "security.tls"))
        self._password = (
            Credential(key(config, "security.password"), security.password, security.password_file, header_safe=False)
            if security.mechanism
            else None
        )
        self.topics = Topics()
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._disposals: set[asyncio.Task[None]] = set()

    async def producer(self) -> AIOKafkaProducer:
        """The producer, connected. Raises what kept it from connecting (OSError, KafkaError, TimeoutError)."""
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    def discard(self, producer: AIOKafkaProducer | None) -> None:
        """Forget that producer and all it has not delivered, unless somebody else did; the next one starts clean."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._dispose(producer)

    async def close(self) -> None:
        """Let go of all connections, within a few seconds whatever the brokers do."""
        self.discard(self._producer)
        if self._disposals:
            await asyncio.wait(self._disposals, timeout=_GOODBYE)
        for task in tuple(self._disposals):
            task.cancel()
        await asyncio.gather(*self._disposals, return_exceptions=True)

    async def _start(self) -> AIOKafkaProducer:
        connection = self._connection()
        producer = AIOKafkaProducer(
            bootstrap_servers=await self._knock(connection),
            enable_idempotence=True,
            transactional_id=self._transactional_id,
            # Longer than any attempt: a transaction that is older belongs to a sink that is no more.
            transaction_timeout_ms=int(max(_TRANSACTION_SECONDS, 2 * self._config.timeout) * 1000),
            acks="all",
            compression_type=None if self._config.compression == "none" else self._config.compression,
            max_batch_size=self.batch_bytes,
            **connection,
        )
        try:
            await producer.start()
        except BaseException:
            self._dispose(producer)
            raise
        return producer

    def _connection(self) -> dict[str, object]:
        security = self._config.security
        sasl, ssl = self._password is not None, self._tls is not None
        return {
            "client_id": "auditsink",
            # A broker that does not answer must be found out before an attempt's own end.
            "request_timeout_ms": max(1, int(self._config.timeout * 500)),
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

    async def _knock(self, connection: dict[str, object]) -> str:
        """The server that answers first, logged in to. The producer's own start would hide why none does."""
        calls = [asyncio.create_task(_call(server, connection)) for server in self._config.bootstrap_servers]
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

    def _dispose(self, producer: AIOKafkaProducer) -> None:
        queued = producer._message_accumulator  # noqa: SLF001
        queued.fail_all(KafkaTimeoutError())  # or stop() waits for delivery
        for batch in chain(*queued._batches.values(), queued._pending_batches):  # noqa: SLF001
            for future in (batch.future, batch._drain_waiter):  # noqa: SLF001
                if future.done() and not future.cancelled():
                    future.exception()  # looked at, or asyncio complains that nobody did
        transaction = producer._txn_manager._transaction_waiter  # noqa: SLF001
        if transaction is not None and transaction.done():
            transaction.exception()
        sending = producer._sender.sender_task  # noqa: SLF001
        if sending is not None:
            sending.cancel()
        task = asyncio.create_task(_stop(producer))
        self._disposals.add(task)
        task.add_done_callback(self._disposals.discard)


async def _call(server: str, connection: dict[str, object]) -> str:
    host, _, port = server.rpartition(":")
    try:
        called = await create_conn(host.strip("[]"), int(port), **connection)
    except Exception as problem:
        problem.add_note(server)
        raise
    called.close()
    return server


async def _stop(producer: AIOKafkaProducer) -> None:
    # Whatever it complains about on its way out concerns nobody any more.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_GOODBYE):  # a transaction looks for its coordinator for ever
            await producer.stop()
    with contextlib.suppress(Exception):
        await producer.client.close()
