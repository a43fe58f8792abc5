"""What an object store's refusal means: row by row, in the words that obstore uses."""

import pytest

from auditsink.delivery.outcome import Misconfigured, Retry, RetryCause, TooLarge
from auditsink.destinations.object_errors import classify, occupied


def told(status: int, code: str = "") -> str:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>CANARY</Message></Error>' if code else "CANARY"
    return (
        "Generic S3 error: Error performing PUT http://127.0.0.1:1/CANARY/x in 51ms - "
        f"Server returned non-2xx status code: {status} Words: {body}"
    )


def told_json(status: int, body: str) -> str:
    return told(status).replace(": CANARY", f": {body}")


ROWS = [
    (told(503, "SlowDown"), Retry, "SlowDown"),
    (told(503), Retry, "HTTP 503"),
    (told(500, "InternalError"), Retry, "InternalError"),
    (told(429), Retry, "HTTP 429"),
    (told(400, "RequestTimeout"), Retry, "RequestTimeout"),
    (told(409, "OperationAborted"), Retry, "HTTP 409"),
    (told(412, "PreconditionFailed"), Retry, "HTTP 412"),
    (told(409, "ConditionalRequestConflict"), Retry, "ConditionalRequestConflict"),
    (told(503, "SlowDownWrite"), Retry, "SlowDownWrite"),
    (told(400, "KMS.ThrottlingException"), Retry, "KMS.ThrottlingException"),
    (told(503, "KMS.KMSInternalException"), Retry, "KMS.KMSInternalException"),
    (told(400, "KMS.DependencyTimeoutException"), Retry, "KMS.DependencyTimeoutException"),
    (told(400, "KMS.KeyUnavailableException"), Retry, "KMS.KeyUnavailableException"),
    (told(400, "ThrottlingException"), Retry, "ThrottlingException"),
    (told(400, "BadDigest"), Retry, "BadDigest"),
    (told(400, "InvalidDigest"), Retry, "InvalidDigest"),
    (told(400, "XAmzContentSHA256Mismatch"), Retry, "XAmzContentSHA256Mismatch"),
    (told(400, "IncompleteBody"), Retry, "IncompleteBody"),
    (told(503, "XMinioServerNotInitialized"), Retry, "XMinio"),
    (told(400, "EntityTooLarge"), TooLarge, "batch.max_bytes"),
    (told(413), TooLarge, "batch.max_bytes"),
    (told(404, "NoSuchBucket"), Misconfigured, "bucket"),
    (told(404), Misconfigured, "name"),
    (told(403, "AccessDenied"), Misconfigured, "credentials"),
    (told(403, "InvalidAccessKeyId"), Misconfigured, "credentials"),
    (told(403, "SignatureDoesNotMatch"), Misconfigured, "credentials"),
    (told(403, "RequestTimeTooSkewed"), Misconfigured, "clock"),
    (told(401), Misconfigured, "credentials"),
    (told(400, "AuthorizationHeaderMalformed"), Misconfigured, "region"),
    (told(400, "ExpiredToken"), Misconfigured, "run out"),
    (told(400, "TokenRefreshRequired"), Misconfigured, "run out"),
    (told(403, "QuotaExceeded"), Misconfigured, "quota"),
    (told(400, "XMinioAdminBucketQuotaExceeded"), Misconfigured, "quota"),
    (told(507, "XMinioStorageFull"), Misconfigured, "full"),
    (told(507), Misconfigured, "full"),
    (told(400, "KMS.NotFoundException"), Misconfigured, "kms_key_id"),
    (told(400, "KMS.DisabledException"), Misconfigured, "kms_key_id"),
    (told(400, "KMS.KMSInvalidStateException"), Misconfigured, "kms_key_id"),
    (told(400, "KMS.AnExceptionOfNextYear"), Misconfigured, "kms_key_id"),
    (told(501, "NotImplemented"), Misconfigured, "checksum"),
    (told(400, "InvalidRequest"), Misconfigured, "checksum"),
    (told(400, "InvalidStorageClass"), Misconfigured, "storage_class"),
    (told(409, "XMinioObjectExistsAsDirectory"), Misconfigured, "change prefix"),
    (told(400, "XMinioParentIsObject"), Misconfigured, "change prefix"),
    (told(400, "XMinioInvalidObjectName"), Misconfigured, "check prefix"),
    (told(400, "KeyTooLong"), Misconfigured, "shorten prefix"),
    (told(400, "RequestLimitExceeded"), Retry, "RequestLimitExceeded"),
    (told(403, "UserSuspended"), Misconfigured, "suspended"),
    (told(405, "MethodNotAllowed"), Misconfigured, "endpoint"),
    (told(301), Misconfigured, "region"),
    # Azure
    (told(404, "ContainerNotFound"), Misconfigured, "container"),
    (told(503, "ServerBusy"), Retry, "ServerBusy"),
    (told(500, "OperationTimedOut"), Retry, "OperationTimedOut"),
    (told(400, "Md5Mismatch"), Retry, "Md5Mismatch"),
    (told(409, "ContainerBeingDeleted"), Retry, "ContainerBeingDeleted"),
    (told(413, "RequestBodyTooLarge"), TooLarge, "batch.max_bytes"),
    (told(403, "AuthenticationFailed"), Misconfigured, "clock"),
    (told(403, "AuthorizationPermissionMismatch"), Misconfigured, "credentials"),
    (told(403, "AuthorizationSourceIPMismatch"), Misconfigured, "firewall"),
    (told(403, "AccountIsDisabled"), Misconfigured, "suspended"),
    (told(403, "KeyVaultEncryptionKeyNotFound"), Misconfigured, "customer-managed key"),
    (told(409, "BlobImmutableDueToPolicy"), Misconfigured, "retention"),
    (told(412, "LeaseIdMissing"), Misconfigured, "leases"),
    # Google
    (told(403, "UserProjectMissing"), Misconfigured, "unpaid"),
    (told_json(429, '{"error":{"code":429,"errors":[{"reason":"rateLimitExceeded"}]}}'), Retry, "rateLimitExceeded"),
    (told_json(403, '{"error":{"errors":[{"reason": "userRateLimitExceeded"}]}}'), Retry, "userRateLimitExceeded"),
    (told_json(403, '{"error":{"errors":[{"reason": "quotaExceeded"}]}}'), Misconfigured, "quota"),
    (told_json(403, '{"error":{"errors":[{"reason":"retentionPolicyNotMet"}]}}'), Misconfigured, "retention"),
    (told_json(400, '{"error":"invalid_grant","error_description":"CANARY"}'), Misconfigured, "clock"),
    (told_json(503, '{"error":"temporarily_unavailable"}'), Retry, "temporarily_unavailable"),
    # No code that anybody knows
    (told(400, "Whatever"), Misconfigured, "HTTP 400 Whatever"),
    (told(599, "Whatever"), Retry, "HTTP 599"),
    (told(403, "<script>"), Misconfigured, "HTTP 403:"),
    (told(403, "x" * 65), Misconfigured, "HTTP 403:"),
    # No status
    ("Received redirect without LOCATION, this normally indicates ...", Misconfigured, "region"),
    ("Generic S3 error: Unable to extract metadata from headers: CANARY", Misconfigured, "no object store"),
    ("Generic S3 error: Error performing PUT http://127.0.0.1:1/CANARY in 1ms - HTTP error: error sending request",
     Retry, "endpoint"),
    ("Error performing PUT http://169.254.169.254/latest/api/token in 2s - HTTP error: CANARY", Retry, "credentials"),
    ("CANARY, whatever that is", Retry, "reached"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "word"), ROWS, ids=range(len(ROWS)))
def test_a_refusal_means_what_its_row_says_and_quotes_nothing(text: str, kind: type, word: str) -> None:
    outcome = classify(text)
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Retry | Misconfigured | TooLarge)
    assert word in outcome.why
    assert "CANARY" not in outcome.why
    assert "<" not in outcome.why


@pytest.mark.parametrize(
    ("kind", "cause"), [("Connect", RetryCause.ELSEWHERE), ("Request", RetryCause.UNKNOWN), ("", RetryCause.UNKNOWN)]
)
def test_without_a_connection_no_event_is_at_fault(kind: str, cause: RetryCause) -> None:
    source = f"inner: Http(\n            HttpError {{\n                kind: {kind},\n" if kind else ""
    outcome = classify(f"Generic S3 error: HTTP error: error sending request\n\nDebug source:\n{source}")
    assert isinstance(outcome, Retry)
    assert outcome.cause is cause


def test_a_name_that_is_taken_for_good_is_told_from_one_that_is_busy() -> None:
    assert occupied(told(409, "BlobImmutableDueToPolicy"))
    assert occupied(told_json(403, '{"error":{"errors":[{"reason":"retentionPolicyNotMet"}]}}'))
    assert not occupied(told(409, "OperationAborted"))
    assert not occupied(told(403, "AccessDenied"))
    assert not occupied("BlobImmutableDueToPolicy")
