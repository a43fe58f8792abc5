"""`type: file` and `type: stdout`: NDJSON on this machine."""

from pathlib import Path
from typing import ClassVar

from auditsink.common.units import Size
from auditsink.config.checks import positive, whole
from auditsink.config.destination import LabelledSection
from auditsink.config.section import Broken


class FileConfig(LabelledSection, frozen=True, kw_only=True, tag="file"):
    """NDJSON in a file that rotates."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.file:FileDestination"
    LISTS: ClassVar[bool] = True

    path: Path
    rotate_bytes: Size = Size(256 * 2**20)
    keep: int = 4

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from positive("rotate_bytes", self.rotate_bytes)
        yield from whole("keep", self.keep, 1, 10_000)
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        return f"file {self.path}, {self.keep} old ones kept, {self.rotate_bytes} each"


class StdoutConfig(LabelledSection, frozen=True, kw_only=True, tag="stdout"):
    """NDJSON on standard output."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.stdout:StdoutDestination"
    LISTS: ClassVar[bool] = True

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        return "standard output"
