"""What an error of Kafka's means for a batch: a table over aiokafka's error classes, and nothing else. Pure.

The names and numbers are the protocol's (Apache Kafka, "Error Codes"). What the table does not know is tried again:
a broker that moves, restarts or is short of replicas shows itself in many ways, and losing is worse than waiting.
"""

import ssl
from enum import Enum

from aiokafka import errors

from auditsink.delivery.outcome import RetryCause


class ErrorMeaning(Enum):
    """What to do about it."""

    RETRY = "again, later"
    MISCONFIGURED = "nothing succeeds until a person acts"
    TOPIC = "nothing succeeds in this topic until a person acts"
    TOO_LARGE = "the broker's limit is lower than this"
    REFUSED = "an event in it is refused for good"


CODES: dict[int, str] = {
    74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH",
    76: "UNSUPPORTED_COMPRESSION_TYPE",
    77: "STALE_BROKER_EPOCH",
    80: "PREFERRED_LEADER_NOT_AVAILABLE",
    82: "FENCED_INSTANCE_ID",
    87: "INVALID_RECORD",
    88: "UNSTABLE_OFFSET_COMMIT",
    89: "THROTTLING_QUOTA_EXCEEDED",
    90: "PRODUCER_FENCED",
    96: "TRANSACTIONAL_ID_NOT_FOUND",
    100: "UNKNOWN_TOPIC_ID",
    103: "INCONSISTENT_TOPIC_ID",
    123: "REBOOTSTRAP_REQUIRED",
}
"""Codes of the protocol that aiokafka does not know and calls -1, among those that a producer may meet."""
_MOST_CODES = 200


class BrokerError(errors.BrokerResponseError):  # type: ignore[misc]  # aiokafka is not typed
    """A code that aiokafka has no class for."""


def register_codes() -> None:
    """Have aiokafka tell the codes that it does not know from one another, and by their numbers."""
    for code in range(1, _MOST_CODES):
        if code not in errors.kafka_errors:
            name = CODES.get(code, "")
            errors.kafka_errors[code] = type(name or f"Code{code}", (BrokerError,), {"errno": code, "message": name})


register_codes()

_PASSWORD = "check security.mechanism, username and password"  # noqa: S105 - a sentence about one
_RIGHTS = (
    "give the user the right to write to the topic (with transactional_id also to read it: Kafka asks that of whoever "
    "commits a place in it; before Kafka 3.0 also IdempotentWrite on the cluster)"
)
_TRANSACTIONS = (
    "give the user the right to write and describe the transactional_id, and to read groups whose names begin with it"
)
_FENCED = "another sink uses the same transactional_id: give each its own (or this one stood still for a minute)"
_TOPIC = "create the topic, or check topic and the cluster's name in it"
_TLS = "check security.tls, or the other side's certificate"
_VERSION = "the brokers are too old: Kafka 1.0 or newer is needed"
_LIMIT = "raise max.message.bytes of the topic"

ERRORS: dict[type[BaseException], tuple[ErrorMeaning, str]] = {
    errors.MessageSizeTooLargeError: (ErrorMeaning.TOO_LARGE, _LIMIT),
    errors.RecordListTooLargeError: (ErrorMeaning.TOO_LARGE, _LIMIT),
    errors.RecordTooLargeError: (ErrorMeaning.TOO_LARGE, _LIMIT),
    errors.InvalidTimestampError: (ErrorMeaning.REFUSED, "its time is outside of what the topic allows"),
    errors.for_code(87): (ErrorMeaning.REFUSED, "the brokers' rules for this topic (a schema?) refuse it"),
    errors.for_code(76): (ErrorMeaning.MISCONFIGURED, "the topic does not take this compression: check compression"),
    errors.for_code(90): (ErrorMeaning.MISCONFIGURED, _FENCED),
    errors.TopicAuthorizationFailedError: (ErrorMeaning.TOPIC, _RIGHTS),
    errors.ClusterAuthorizationFailedError: (ErrorMeaning.MISCONFIGURED, _RIGHTS),
    errors.TransactionalIdAuthorizationFailed: (ErrorMeaning.MISCONFIGURED, _TRANSACTIONS),
    errors.GroupAuthorizationFailedError: (ErrorMeaning.MISCONFIGURED, _TRANSACTIONS),
    errors.ProducerFenced: (ErrorMeaning.MISCONFIGURED, _FENCED),
    errors.SaslAuthenticationFailed: (ErrorMeaning.MISCONFIGURED, _PASSWORD),
    errors.AuthenticationFailedError: (ErrorMeaning.MISCONFIGURED, _PASSWORD),
    errors.AuthenticationMethodNotSupported: (ErrorMeaning.MISCONFIGURED, _PASSWORD),
    errors.UnsupportedSaslMechanismError: (ErrorMeaning.MISCONFIGURED, _PASSWORD),
    errors.IllegalSaslStateError: (ErrorMeaning.MISCONFIGURED, _PASSWORD),
    errors.SecurityDisabled: (ErrorMeaning.MISCONFIGURED, _PASSWORD),
    ssl.SSLCertVerificationError: (ErrorMeaning.MISCONFIGURED, _TLS),
    errors.UnknownTopicOrPartitionError: (ErrorMeaning.TOPIC, _TOPIC),
    errors.InvalidTopicError: (ErrorMeaning.TOPIC, _TOPIC),
    errors.PolicyViolationError: (ErrorMeaning.MISCONFIGURED, "the brokers' policy forbids it; ask whoever runs them"),
    errors.InvalidRequiredAcksError: (ErrorMeaning.MISCONFIGURED, "the brokers do not take acks=all"),
    errors.UnsupportedVersionError: (ErrorMeaning.MISCONFIGURED, _VERSION),
    errors.UnsupportedForMessageFormatError: (ErrorMeaning.MISCONFIGURED, _VERSION),
    errors.IncompatibleBrokerVersion: (ErrorMeaning.MISCONFIGURED, _VERSION),
    errors.UnrecognizedBrokerVersion: (ErrorMeaning.MISCONFIGURED, _VERSION),
    errors.UnsupportedCodecError: (ErrorMeaning.MISCONFIGURED, "the brokers do not take this compression"),
}


def classify(problem: BaseException) -> tuple[ErrorMeaning, str]:
    """The verdict and a sentence with the error's kind; not its text, which may quote user names.

    A note on the error says which server it is about.
    """
    if type(problem) is errors.KafkaError and problem.__cause__ is not None:
        problem = problem.__cause__  # aiokafka's background task wraps what it did not expect
    verdict, remedy = ERRORS.get(type(problem), (ErrorMeaning.RETRY, ""))
    if isinstance(problem, TimeoutError):
        said = "no answer in time"
    elif isinstance(problem, errors.BrokerResponseError):
        said = _told(problem)
    elif isinstance(problem, OSError) and problem.strerror:
        said = problem.strerror
    elif isinstance(problem, errors.KafkaConnectionError):
        said = "no connection (if the broker runs: does it want TLS, a certificate, SASL?)"
    else:
        said = type(problem).__name__
    said = ": ".join([*getattr(problem, "__notes__", ()), said])
    return verdict, f"{said}; {remedy}" if remedy else said


def cause(problem: BaseException) -> RetryCause:
    """Whether what is tried again may be the batch's fault."""
    if isinstance(problem, TimeoutError | errors.KafkaTimeoutError | errors.RequestTimedOutError):
        return RetryCause.TIMED_OUT
    known = type(problem) in _NOT_THE_BATCH or isinstance(problem, OSError | errors.KafkaConnectionError)
    return RetryCause.ELSEWHERE if known else RetryCause.UNKNOWN


_NOT_THE_BATCH = frozenset({
    errors.NodeNotReadyError, errors.NotLeaderForPartitionError, errors.LeaderNotAvailableError,
    errors.NotEnoughReplicasError, errors.NotEnoughReplicasAfterAppendError, errors.BrokerNotAvailableError,
    errors.KafkaStorageError, errors.InvalidProducerEpoch, errors.ProducerClosed, errors.UnknownProducerId,
    errors.OutOfOrderSequenceNumber, errors.CoordinatorNotAvailableError, errors.CoordinatorLoadInProgressError,
    errors.NotCoordinatorError, errors.ConcurrentTransactions,
    *map(errors.for_code, (74, 75, 77, 80, 89, 100, 103, 123)),
})  # fmt: skip


def _told(problem: errors.BrokerResponseError) -> str:
    """The code and its name. Whoever answers -1 knows no code for what happened."""
    name = problem.message if isinstance(problem, BrokerError) else type(problem).__name__
    if problem.errno < 0:
        return "the broker had an error of its own that it does not name (its log may)"
    return ", ".join(filter(None, (f"the broker answered {problem.errno}", name)))
