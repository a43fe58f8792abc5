"""What an error of Kafka's means for a batch: a table over aiokafka's error classes, and nothing else. Pure.

The names and numbers are the protocol's (Apache Kafka, "Error Codes"). What the table does not know is tried again:
a broker that moves, restarts or is short of replicas shows itself in many ways, and losing is worse than waiting.
"""

import ssl
from enum import Enum

from aiokafka import errors


class ErrorMeaning(Enum):
    """What to do about it."""

    RETRY = "again, later"
    MISCONFIGURED = "nothing succeeds until a person acts"
    TOPIC = "nothing succeeds in this topic until a person acts"
    TOO_LARGE = "the broker's limit is lower than this"
    REFUSED = "an event in it is refused for good"


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
        said = f"the broker answered {problem.errno}, {type(problem).__name__}"
    elif isinstance(problem, OSError) and problem.strerror:
        said = problem.strerror
    elif isinstance(problem, errors.KafkaConnectionError):
        said = "no connection (if the broker runs: does it want TLS, a certificate, SASL?)"
    else:
        said = type(problem).__name__
    said = ": ".join([*getattr(problem, "__notes__", ()), said])
    return verdict, f"{said}; {remedy}" if remedy else said
