"""What an object store's refusal means: a table over the code and the status in obstore's message. Pure.

obstore tells a failure as text: `... status code: 503 Service Unavailable: <Error><Code>SlowDown</Code>...`. S3, GCS
and Azure all answer with an XML `Code` (Amazon S3 API reference, error responses, and AWS KMS, errors of its API; Cloud
Storage XML API, HTTP status and error codes; Azure Storage, common and blob service error codes), Google's token server
and its JSON API with an `error` or a `reason`. Codes of MinIO and Ceph stand among them. Nothing of that text is
repeated but the code: it names hosts, and quotes what the other side sent.
"""

import re
from collections.abc import Mapping

from auditsink.delivery.outcome import Misconfigured, Outcome, Retry, RetryCause, TooLarge
from auditsink.http.answers import by_status

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9._-]{1,64})\s*</Code>")
_DELETE_CODE = re.compile(r'DeleteFailed \{\s*path: "(?:[^"\\]|\\.)*",\s*code: "([A-Za-z0-9._-]{1,64})"')
"""Of one of several objects to delete: S3 answers 200 to them all, and says of each what became of it."""
_JSON_CODE = re.compile(r'"(?:reason|error)"\s*:\s*"([A-Za-z0-9._-]{1,64})"')

_PASSING = frozenset({
    # The store is busy, restarts, or is without a part of itself.
    "AccountBeingCreated", "ConditionalRequestConflict", "ConnectionClosedByRequester", "ContainerBeingDeleted",
    "ContainerDisabled", "InternalError", "InternalFailure", "OperationAborted", "OperationTimedOut", "RequestTimeout",
    "RequestTimeoutException", "ServerBusy", "ServiceUnavailable", "TemporaryRedirect", "TooManyRequests",
    "TooManyRequestsException", "XMinioBackendDown", "XMinioServerNotInitialized", "backendError", "internalError",
    "server_error", "temporarily_unavailable",
    # So is its key service, for encryption with keys of one's own.
    "DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "LimitExceededException",
    # The object came damaged or cut off: the same bytes once more.
    "BadDigest", "Crc64Mismatch", "IncompleteBody", "InvalidDigest", "InvalidMd5", "Md5Mismatch",
    "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
})  # fmt: skip
_PASSING_WORDS = re.compile(
    r"throttl|slowdown|rateexceeded|ratelimitexceeded|requestlimitexceeded|bandwidthlimitexceeded", re.IGNORECASE
)
"""Every service has a spelling of its own: SlowDownWrite, KMS.ThrottlingException, userRateLimitExceeded."""
_LARGE = frozenset({
    "EntityTooLarge", "MaxMessageLengthExceeded", "RequestBodyTooLarge", "payloadTooLarge", "uploadTooLarge",
})  # fmt: skip
_OCCUPIED = frozenset({
    "BlobArchived", "BlobBeingRehydrated", "BlobImmutableDueToLegalHold", "BlobImmutableDueToPolicy", "InvalidBlobType",
    "InvalidObjectState", "LeaseIdMissing", "ObjectUnderActiveHold", "RetentionPolicyNotMet", "SnapshotsPresent",
    "objectUnderActiveHold", "retentionPolicyNotMet",
})  # fmt: skip

_CREDENTIALS = "check the credentials and what they may do: they need to write objects, and nothing else"
_EXPIRED = (
    "the session's credentials have run out; renew them where they come from (AWS_SESSION_TOKEN, the role, the web "
    "identity), and start the sink again if that is its environment"
)
_FULL = "the store, or a quota in it, is full; make room there, or raise the quota"
_KMS = "check kms_key_id (encryption keys): that it is there, enabled, of this region, and may be used by the sink"
_UNPAID = "the account is suspended or unpaid; its owner must settle that with the store"
_NETWORK = "the account lets nobody in from here; check its firewall and network rules"
_OPTIONS = "the store does not take what is asked of it; check encryption, storage_class and checksum"
_NO_BUCKET = "there is no such bucket; check bucket, endpoint and region"
_NO_CONTAINER = "there is no such container; check account, container and endpoint"
_REGION = "check region and endpoint"
_IN_THE_WAY = "an object of the store has the name of a directory in prefix, or the other way round; change prefix"
_LOCKED = "an object of this name is there and must not be replaced; check the retention and leases of its bucket"

_REMEDIES: Mapping[str, str] = {
    code: remedy
    for remedy, codes in {
        _EXPIRED: "ExpiredToken ExpiredTokenException TokenRefreshRequired InvalidToken RequestExpired expired",
        "this machine's clock is wrong by minutes; set it": "RequestTimeTooSkewed",
        f"{_CREDENTIALS}; or this machine's clock is wrong": "AuthenticationFailed InvalidAuthenticationInfo "
        "SignatureDoesNotMatch InvalidSignature invalid_grant",
        _CREDENTIALS: "AccessDenied AccessDeniedException AllAccessDisabled AuthorizationFailure authError "
        "AuthorizationPermissionMismatch AuthorizationResourceTypeMismatch AuthorizationServiceMismatch forbidden "
        "CredentialsNotSupported InsufficientAccountPermissions InvalidSecurity "
        "MissingAuthenticationToken MissingSecurityHeader NoAuthenticationInformation NotDeviceOwnerError "
        "PublicAccessNotPermitted TokenCodeInvalidError UnauthorizedAccess insufficientPermissions unauthorized_client",
        "the store does not know these credentials; check them, and endpoint": "InvalidAccessKeyId invalid_client",
        "check region and the credentials": "AuthorizationHeaderMalformed AuthorizationQueryParametersError "
        "InvalidRegion IllegalLocationConstraintException",
        _REGION: "PermanentRedirect Redirect EndpointNotFound IncorrectEndpoint InvalidHostHeader",
        _NO_BUCKET: "NoSuchBucket InvalidBucketName InvalidBucketState InvalidAccessPoint NoSuchAccessPoint",
        _NO_CONTAINER: "ContainerNotFound ResourceNotFound InvalidResourceName",
        _UNPAID: "AccountProblem AccountIsDisabled NotSignedUp UserSuspended UserProjectMissing accountDisabled "
        "UserProjectAccountProblem InvalidPayer BillingDisabled",
        _NETWORK: "AuthorizationSourceIPMismatch AuthorizationProtocolMismatch",
        _OPTIONS: "InvalidArgument InvalidRequest InvalidHeaderValue InvalidTag MetadataTooLarge NotImplemented "
        "AccessControlListNotSupported UnsupportedHeader MissingRequiredHeader InvalidEncryptionAlgorithmError "
        "FeatureVersionMismatch",
        "check storage_class": "InvalidStorageClass BlobAccessTierNotSupportedForAccountType",
        "shorten prefix": "KeyTooLong KeyTooLongError InvalidURI OutOfRangeInput",
        _IN_THE_WAY: "XMinioObjectExistsAsDirectory XMinioParentIsObject",
        "check prefix: the store takes no object of such a name": "XMinioInvalidObjectName",
        "check the customer-managed key of the account": "KeyVaultAccessTokenCannotBeAcquired "
        "KeyVaultEncryptionKeyNotFound KeyVaultVaultNotFound",
        "POST and PUT are not taken at this address; check endpoint": "MethodNotAllowed UnsupportedHttpVerb",
    }.items()
    for code in codes.split()
}  # fmt: skip
_KMS_CODES = re.compile(r"KMS\.|Kms|KMS")
_FULL_CODES = re.compile(r"quota|StorageFull|StorageExceeded|dailyLimitExceeded|InsufficientStorage", re.IGNORECASE)
_BY_STATUS = {
    301: _REGION,
    400: "check bucket, region, endpoint, encryption and checksum",
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: "there is no such bucket or container; check its name, endpoint and region",
    501: _OPTIONS,
    507: _FULL,
}
_NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
"""Where the clouds hand out credentials to their machines."""
_NOT_CONNECTED = re.compile(r"HttpError \{\s*kind: Connect,")
"""In what obstore adds about the source of an error; without it, whether there was a connection is not known."""
_NO_STORE = ("Unable to extract metadata from headers", "Got invalid ")
"""What obstore says to a success that names no object, or is no list."""
_NETWORK_WORDS = {
    "InvalidCertificate(": "the store's certificate is not trusted; check ca_file, endpoint and this machine's clock",
    "InvalidContentType": "what answers there does not speak TLS; check endpoint (http:// or https://)",
    "dns error": "the store's name cannot be resolved; check endpoint, bucket, region and the name server",
    "kind: Timeout": "the store did not answer in time",
    "ConnectionRefused": "the store refuses the connection; check endpoint, and whether it runs",
}
"""In what obstore adds about the source of an error, and what it means."""
_BROKE_OFF = "the store cannot be reached, or broke off; check endpoint, ca_file and the network"
_DENIED = frozenset({
    "", "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AuthorizationFailure",
    "AuthorizationPermissionMismatch", "AuthorizationResourceTypeMismatch", "AuthorizationServiceMismatch",
    "InsufficientAccountPermissions", "UnauthorizedAccess", "forbidden", "insufficientPermissions",
})  # fmt: skip
"""Codes that say: known, and not allowed this."""


def classify(text: str) -> Outcome:
    """The outcome of an attempt that failed with this message."""
    status_found = _STATUS.search(text)
    if status_found is None and not _DELETE_CODE.search(text):
        return _without_status(text)
    status, code = int(status_found[1]) if status_found else 200, _code(text)
    said = f"HTTP {status} {code}".rstrip()
    if code in _OCCUPIED:
        return Misconfigured(f"{said}: {_LOCKED}")
    if code.removeprefix("KMS.") in _PASSING or _PASSING_WORDS.search(code):
        return Retry(said)
    if code in _LARGE:
        return TooLarge(f"{said}: the object is larger than the store takes; lower batch.max_bytes")
    remedy = _remedy(code)
    if remedy is None and status in (200, 409, 412):  # somebody else is writing that object now, and it will be ours
        return Retry(said)
    remedy = remedy or _BY_STATUS.get(status)
    return by_status(status, {}) if remedy is None else Misconfigured(f"{said}: {remedy}")


def occupied(text: str) -> bool:
    """Whether an object of that name is there which the store will never let us replace: another name will do."""
    return _STATUS.search(text) is not None and _code(text) in _OCCUPIED


def denied(text: str) -> bool:
    """Whether the credentials are good and this one thing is not allowed to them."""
    found, code = _STATUS.search(text), _code(text)
    return code in _DENIED and (found[1] == "403" if found else code != "")


def full(text: str) -> bool:
    """Whether there is no room in the store."""
    found = _STATUS.search(text)
    return found is not None and (found[1] == "507" or _FULL_CODES.search(_code(text)) is not None)


def _code(text: str) -> str:
    found = _CODE.search(text) or _DELETE_CODE.search(text) or _JSON_CODE.search(text)
    return found[1] if found else ""


def _remedy(code: str) -> str | None:
    if known := _REMEDIES.get(code):
        return known
    if _KMS_CODES.match(code):
        return _KMS
    return _FULL if _FULL_CODES.search(code) else None


def _without_status(text: str) -> Outcome:
    if "redirect" in text:
        return Misconfigured("the store is somewhere else; check region and endpoint")
    if any(words in text for words in _NO_STORE):
        return Misconfigured("what answers there is no object store (it names no object); check endpoint, and proxies")
    if any(address in text for address in _NO_CREDENTIALS):
        return Retry(
            "no credentials: the configuration names none, the environment has none, and this machine's identity "
            "service does not answer; it is asked again",
            cause=RetryCause.ELSEWHERE,
        )
    cause = RetryCause.ELSEWHERE if _NOT_CONNECTED.search(text) else RetryCause.UNKNOWN
    why = next((why for words, why in _NETWORK_WORDS.items() if words in text), _BROKE_OFF)
    return Retry(why, cause=cause)
