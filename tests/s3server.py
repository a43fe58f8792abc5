"""moto's S3 API server in a process of its own: a server of that protocol that this project did not write."""

import asyncio
import contextlib
import gzip
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

import boto3
import zstandard
from botocore.config import Config

PATIENCE = 60.0
BUCKET = "trail"


class S3Server:
    """`with S3Server() as server`: running, with an empty bucket. What it holds is in its memory, and ends with it."""

    def __init__(self) -> None:
        # Bound for as long as this lives, and never listening: nobody else gets the port, the server does.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = int(self._held.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(proxies={}, retries={"max_attempts": 0}, parameter_validation=False),
        )
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._held.close()

    def start(self) -> None:
        """Start, and make the bucket."""
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            assert time.monotonic() < deadline, "moto's server does not come up"
            time.sleep(0.05)
        self.client.create_bucket(Bucket=BUCKET)

    def kill(self) -> None:
        """At once, with everything it holds."""
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """It takes connections and bytes (its kernel does), and answers when this ends."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def objects(self) -> dict[str, list[bytes]]:
        """The lines of each object, by key, in the order of keys."""
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        bodies = {one["Key"]: self.client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found}
        return {key: unpacked(key, body).splitlines() for key, body in sorted(bodies.items())}

    async def until(self, count: int) -> dict[str, list[bytes]]:
        """The objects, when they hold that many lines or more."""
        deadline = time.monotonic() + PATIENCE
        while sum(map(len, (found := await asyncio.to_thread(self.objects)).values())) < count:
            assert time.monotonic() < deadline, f"{sum(map(len, found.values()))} of {count} lines"
            await asyncio.sleep(0.1)
        return found


def unpacked(key: str, body: bytes) -> bytes:
    """An object's content."""
    if key.endswith(".zst"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return gzip.decompress(body) if key.endswith(".gz") else body
