"""What the HTTP destinations read the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.http.answers import foreign, retry_after

DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("3600", 3600.0),
        ("999999999999", 3600.0),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 09:59:00 GMT", 0.0),
        ("Sun, 22 Nov 2099 10:00:00 GMT", 3600.0),
        ("Sunday, 22-Nov-26 10:00:10 GMT", 10.0),
        ("-5", None),
        ("1.5", None),
        ("\u0665", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value, "date": DATE}) == seconds


@pytest.mark.parametrize(
    "headers", [{}, {"date": DATE}, {"retry-after": DATE}, {"retry-after": DATE, "date": "yesterday"}]
)
def test_a_date_needs_the_answers_own_date(headers: dict[str, str]) -> None:
    assert retry_after(headers) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_it(value: str, date: str) -> None:
    found = retry_after({"retry-after": value, "date": date})

    assert found is None or 0 <= found <= 3600


@given(st.text())
def test_a_foreign_text_is_printable_and_short(text: str) -> None:
    shown = foreign(text)

    assert len(shown) <= 200
    assert shown.isprintable()
