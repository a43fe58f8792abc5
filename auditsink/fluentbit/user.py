"""From root to a user without rights, before a port is opened: today's extension gives its pod no user of its own.

The volume belongs to root there, so the sink's directory is made and given away first. Whoever starts it as somebody
else must have prepared the directory (`fsGroup`); then nothing of this happens.
"""

import os
import sys
from pathlib import Path

import auditsink
from auditsink.fluentbit.document import FluentBitError

UID = GID = 10001
"""The image's own user."""


def is_root() -> bool:
    """Whether there is something to give away."""
    return os.geteuid() == 0


def prepare(ours: Path) -> None:
    """Make the directory. Raises FluentBitError."""
    try:
        ours.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise FluentBitError(
            f"{ours}: {problem.strerror}; start the container as root, or set fsGroup: {GID} beside runAsUser: {UID}"
        ) from None


def give(ours: Path) -> None:
    """Everything below belongs to the user from now on; links are not followed. Raises FluentBitError."""
    try:
        for directory, names, files in os.walk(ours):
            _own(directory)
            for name in (*names, *files):
                _own(os.path.join(directory, name))  # noqa: PTH118 - a large spool has many, and none needs an object
    except OSError as problem:
        raise FluentBitError(
            f"{problem.filename or ours}: {problem.strerror}; root needs the capability CHOWN to give the sink's "
            "directory away"
        ) from None


def _own(path: str) -> None:
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != (UID, GID):
        os.lchown(path, UID, GID)


def drop() -> None:
    """Be that user, for good, who must be able to read the program: modules and the page's files are read later.

    Raises FluentBitError.
    """
    try:
        os.setgroups([])
        os.setgid(GID)
        os.setuid(UID)
    except OSError as problem:
        raise FluentBitError(
            f"user {UID}: {problem.strerror}; root needs the capabilities SETUID and SETGID to become it"
        ) from None
    try:
        os.setuid(0)
    except PermissionError:
        for needed in (sys.executable, os.__file__, auditsink.__file__):
            if not os.access(needed, os.R_OK):
                raise FluentBitError(
                    f"{needed}: user {UID}, who runs the sink from here on, may not read it; install Python and "
                    "auditsink where everybody may read them (the image does)"
                ) from None
        return
    raise FluentBitError(f"user {UID}: the way back to root is open; take that from the container, and start it again")
