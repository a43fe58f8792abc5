"""The page on the admin port: the status as a table. Everything in it is escaped, nothing is loaded or run."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Any

from auditsink.observe.status import NUMBERS

_STYLE = "body{font-family:sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:left}.n{text-align:right}"
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: no script, no image, no frame, this one style."""


def render(status: dict[str, Any]) -> str:
    """The page for a `/status` document."""
    header = ["destination", "type", "state", *(key.replace("_", " ") for key in NUMBERS), "lag (s)", "last error"]
    keys = ["name", "type", "state", *NUMBERS, "lag_seconds", "last_error"]
    rows = [[one[key] for key in keys] for one in status["destinations"]]
    reasons = "".join(f"<p>not ready: {escape(reason)}</p>" for reason in status["reasons"])
    spool = status["spool"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>auditsink</title>'
        f"<style>{_STYLE}</style></head><body><h1>auditsink: {escape(status['state'])}</h1>{reasons}"
        f"<p>{status['accepted_events']:,} events accepted, "
        f"{spool['bytes']:,} of {spool['max_bytes']:,} bytes of the spool used</p>"
        f"<table><thead>{_row('th', header)}</thead><tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"
        '<p><a href="status">status</a> <a href="metrics">metrics</a> <a href="readyz">readyz</a></p></body></html>'
    )


def _row(cell: str, values: Iterable[object]) -> str:
    return f"<tr>{''.join(_cell(cell, value) for value in values)}</tr>"


def _cell(cell: str, value: object) -> str:
    if isinstance(value, int | float):
        return f'<{cell} class="n">{value:,}</{cell}>'
    return f"<{cell}>{escape('' if value is None else str(value))}</{cell}>"
