"""What an object store's refusal means: a table over the code and the status in obstore's message. Pure.

obstore tells a failure as text: `... status code: 503 Service Unavailable: <Error><Code>SlowDown</Code>...`. S3, GCS
and Azure all answer with an XML `Code` (Amazon S3 API reference, error responses; Azure: storage services error
codes). Nothing of that text is repeated but the code: it names hosts, and quotes what the other side sent.
"""

import re

from auditsink.delivery.outcome import Misconfigured, Outcome, Retry, TooLarge
from auditsink.http.answers import by_status

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")

_PASSING = frozenset({
    "InternalError", "OperationAborted", "OperationTimedOut", "RequestTimeout", "ServerBusy", "ServiceUnavailable",
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
})  # fmt: skip
_LARGE = frozenset({"EntityTooLarge", "RequestBodyTooLarge", "MaxMessageLengthExceeded"})
_CREDENTIALS = "check the credentials and what they may do: they need to write objects, and nothing else"
_REMEDIES = {
    "NoSuchBucket": "there is no such bucket; check bucket, endpoint and region",
    "ContainerNotFound": "there is no such container; check account, container and endpoint",
    "RequestTimeTooSkewed": "this machine's clock is wrong by minutes; set it",
    "AuthorizationHeaderMalformed": "check region and the credentials",
    "PermanentRedirect": "check region and endpoint",
    "KMS.NotFoundException": "check kms_key_id",
    "InvalidStorageClass": "check storage_class",
}
_BY_STATUS = {
    301: "check region and endpoint",
    400: "check bucket, region, endpoint and encryption",
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: "there is no such bucket or container; check its name, endpoint and region",
}
_NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
"""Where the clouds hand out credentials to their machines."""


def classify(text: str) -> Outcome:
    """The outcome of an attempt that failed with this message."""
    status_found, code_found = _STATUS.search(text), _CODE.search(text)
    if status_found is None:
        return _without_status(text)
    status, code = int(status_found[1]), code_found[1] if code_found else ""
    said = f"HTTP {status} {code}".rstrip()
    if status in (409, 412):  # somebody else is writing that object right now, and it will be ours
        return Retry(said)
    if code in _PASSING:
        return Retry(said)
    if code in _LARGE:
        return TooLarge(f"{said}: the object is larger than the store takes; lower batch.max_bytes")
    remedy = _REMEDIES.get(code) or _BY_STATUS.get(status)
    return by_status(status, {}) if remedy is None else Misconfigured(f"{said}: {remedy}")


def _without_status(text: str) -> Outcome:
    if "redirect" in text:
        return Misconfigured("the store is somewhere else; check region and endpoint")
    if any(address in text for address in _NO_CREDENTIALS):
        return Retry(
            "no credentials: the configuration names none, the environment has none, and this machine's identity "
            "service does not answer; it is asked again"
        )
    return Retry("the store cannot be reached, or broke off; check endpoint, ca_file and the network")
