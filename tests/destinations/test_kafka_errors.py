"""What Kafka's errors mean: one row for each that has a meaning of its own, and all others are tried again."""

import ssl

import pytest
from aiokafka import errors

from auditsink.delivery.outcome import RetryCause
from auditsink.kafka.errors import ERRORS, ErrorMeaning, cause, classify

TOO_LARGE = [errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.RecordTooLargeError]
REFUSED = [errors.InvalidTimestampError, errors.for_code(87)]
TOPIC = [errors.TopicAuthorizationFailedError, errors.UnknownTopicOrPartitionError, errors.InvalidTopicError]
MISCONFIGURED = [
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.GroupAuthorizationFailedError,
    errors.ProducerFenced,
    errors.SaslAuthenticationFailed,
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.SecurityDisabled,
    errors.PolicyViolationError,
    errors.InvalidRequiredAcksError,
    errors.UnsupportedVersionError,
    errors.UnsupportedForMessageFormatError,
    errors.IncompatibleBrokerVersion,
    errors.UnrecognizedBrokerVersion,
    errors.UnsupportedCodecError,
    ssl.SSLCertVerificationError,
    errors.for_code(76),
    errors.for_code(90),
]
PASSING = [
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.NodeNotReadyError,
    errors.NotLeaderForPartitionError,
    errors.LeaderNotAvailableError,
    errors.NotEnoughReplicasError,
    errors.NotEnoughReplicasAfterAppendError,
    errors.RequestTimedOutError,
    errors.BrokerNotAvailableError,
    errors.KafkaStorageError,
    errors.CorruptRecordException,
    errors.OutOfOrderSequenceNumber,
    errors.UnknownProducerId,
    errors.InvalidProducerEpoch,
    errors.ProducerClosed,
    errors.UnknownError,
    errors.KafkaError,
    ConnectionRefusedError,
    ConnectionResetError,
    TimeoutError,
    AssertionError,
    ValueError,
]


def test_every_row_of_the_table_has_a_row_here() -> None:
    assert set(ERRORS) == {*TOO_LARGE, *REFUSED, *TOPIC, *MISCONFIGURED}


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        *((kind, ErrorMeaning.TOO_LARGE) for kind in TOO_LARGE),
        *((kind, ErrorMeaning.REFUSED) for kind in REFUSED),
        *((kind, ErrorMeaning.TOPIC) for kind in TOPIC),
        *((kind, ErrorMeaning.MISCONFIGURED) for kind in MISCONFIGURED),
        *((kind, ErrorMeaning.RETRY) for kind in PASSING),
    ],
)
def test_each_kind_has_its_verdict(kind: type[BaseException], verdict: ErrorMeaning) -> None:
    found, why = classify(kind())

    assert found is verdict
    assert why
    assert (";" in why) == (verdict is not ErrorMeaning.RETRY)


def test_an_error_the_broker_answered_tells_its_number() -> None:
    assert classify(errors.NotEnoughReplicasError())[1] == "the broker answered 19, NotEnoughReplicasError"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (87, "87, INVALID_RECORD"),
        (89, "89, THROTTLING_QUOTA_EXCEEDED"),
        (144, "the broker answered 144"),
        (19, "19, Not"),
    ],
)
def test_a_code_that_aiokafka_does_not_know_is_told_as_itself(code: int, told: str) -> None:
    why = classify(errors.for_code(code)())[1]
    assert told in why
    assert "-1" not in why


def test_no_code_is_shown_as_minus_one() -> None:
    for code in range(-1, 200):
        assert "-1" not in classify(errors.for_code(code)())[1]


@pytest.mark.parametrize(
    ("problem", "found"),
    [
        (TimeoutError(), RetryCause.TIMED_OUT),
        (errors.RequestTimedOutError(), RetryCause.TIMED_OUT),
        (ConnectionResetError(), RetryCause.ELSEWHERE),
        (errors.KafkaConnectionError(), RetryCause.ELSEWHERE),
        (errors.NotEnoughReplicasError(), RetryCause.ELSEWHERE),
        (errors.for_code(89)(), RetryCause.ELSEWHERE),
        (errors.UnknownError(), RetryCause.UNKNOWN),
        (errors.for_code(144)(), RetryCause.UNKNOWN),
        (AssertionError(), RetryCause.UNKNOWN),
    ],
)
def test_whether_the_batch_may_be_at_fault(problem: BaseException, found: RetryCause) -> None:
    assert cause(problem) is found


def test_a_text_that_may_quote_anything_is_not_repeated() -> None:
    assert "s3cr3t" not in classify(errors.SaslAuthenticationFailed("s3cr3t"))[1]
    assert "s3cr3t" not in classify(errors.KafkaConnectionError("s3cr3t"))[1]


def test_an_error_of_the_system_is_told_in_its_words() -> None:
    assert classify(ConnectionRefusedError(111, "Connection refused"))[1] == "Connection refused"
    assert classify(TimeoutError())[1] == "no answer in time"


def test_what_aiokafka_wrapped_is_told_as_itself() -> None:
    wrapped = errors.KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = errors.GroupAuthorizationFailedError("s3cr3t")
    assert classify(wrapped) == classify(errors.GroupAuthorizationFailedError())
