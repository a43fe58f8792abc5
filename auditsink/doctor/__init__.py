"""`auditsink doctor`: looks at a running sink, its machine and the apiserver that posts to it.

Each module turns what somebody else has read into findings, and knows no socket and no file: `sink` what the admin
port says, and the disk under the spool; `apiserver` its flags; `kubeconfig` its webhook's file by itself, `comparison`
beside the sink's configuration. The command reads and prints.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Urgency(IntEnum):
    """In the order in which a person should go about it."""

    LOSING = 0  # events are being lost, or no longer kept safely
    SOON = 1  # they will be, if nobody does anything
    ADVICE = 2  # it works, and could be better


HEADINGS = {
    Urgency.LOSING: "Now: events are being lost, or are not safe",
    Urgency.SOON: "Soon: they will be, if nobody does anything",
    Urgency.ADVICE: "Some day: it works, and could be better",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` is a key, a file, a destination; `what` happened, and the `remedy`."""

    urgency: Urgency
    about: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}; {self.remedy}"


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The most urgent first; what is equally urgent as it was found."""
    return sorted(findings, key=lambda finding: finding.urgency)
