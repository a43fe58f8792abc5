"""What an object store's refusal means: row by row, in the words that obstore uses."""

import pytest

from auditsink.delivery.outcome import Misconfigured, Retry, TooLarge
from auditsink.destinations.object_errors import classify


def told(status: int, code: str = "") -> str:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>CANARY</Message></Error>' if code else "CANARY"
    return (
        "Generic S3 error: Error performing PUT http://127.0.0.1:1/CANARY/x in 51ms - "
        f"Server returned non-2xx status code: {status} Words: {body}"
    )


ROWS = [
    (told(503, "SlowDown"), Retry, "SlowDown"),
    (told(503), Retry, "HTTP 503"),
    (told(500, "InternalError"), Retry, "InternalError"),
    (told(429), Retry, "HTTP 429"),
    (told(400, "RequestTimeout"), Retry, "RequestTimeout"),
    (told(409, "OperationAborted"), Retry, "HTTP 409"),
    (told(412, "PreconditionFailed"), Retry, "HTTP 412"),
    (told(400, "EntityTooLarge"), TooLarge, "batch.max_bytes"),
    (told(413), TooLarge, "batch.max_bytes"),
    (told(404, "NoSuchBucket"), Misconfigured, "bucket"),
    (told(404, "ContainerNotFound"), Misconfigured, "container"),
    (told(404), Misconfigured, "name"),
    (told(403, "AccessDenied"), Misconfigured, "credentials"),
    (told(403, "InvalidAccessKeyId"), Misconfigured, "credentials"),
    (told(403, "RequestTimeTooSkewed"), Misconfigured, "clock"),
    (told(401), Misconfigured, "credentials"),
    (told(400, "AuthorizationHeaderMalformed"), Misconfigured, "region"),
    (told(400, "ExpiredToken"), Misconfigured, "ExpiredToken"),
    (told(301), Misconfigured, "region"),
    ("Received redirect without LOCATION, this normally indicates ...", Misconfigured, "region"),
    ("Generic S3 error: Error performing PUT http://127.0.0.1:1/CANARY in 1ms - HTTP error: error sending request",
     Retry, "endpoint"),
    ("Error performing PUT http://169.254.169.254/latest/api/token in 2s - HTTP error: CANARY", Retry, "credentials"),
    ("CANARY, whatever that is", Retry, "reached"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "word"), ROWS, ids=range(len(ROWS)))
def test_a_refusal_means_what_its_row_says_and_quotes_nothing(text: str, kind: type, word: str):
    outcome = classify(text)
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Retry | Misconfigured | TooLarge)
    assert word in outcome.why
    assert "CANARY" not in outcome.why
