"""CRC32C, without what the library's package imports beside it: its command line, and a reader of metadata (1 MB)."""

from auditsink.common.later import postpone

postpone("crc32c")

from crc32c._crc32c import crc32c  # noqa: E402 - the package must not run before

__all__ = ["crc32c"]
