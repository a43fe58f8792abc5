"""`make demo`: a sink on a bad day, in one process and a temporary directory, with a Splunk by script.

Splunk is busy at first, then finds one event that it will never take. Meanwhile a recorded kube-apiserver posts, and
all that is seen at the end is what the README promises: everything arrived, one dead letter, the accounts add up.
With `--keep` sink and Splunk stay, with some traffic and the page to look at, until Ctrl-C.
"""

import asyncio
import itertools
import tempfile
from pathlib import Path

import click

from auditsink.apiserver.webhook import Webhook
from auditsink.auditlogs.sources import bodies
from auditsink.cli import tables
from auditsink.cli.send_report import Passed
from auditsink.common.clock import SystemClock
from auditsink.load import parse
from auditsink.observe import status
from auditsink.service import Sink
from auditsink.testing.apiserver import Apiserver
from auditsink.testing.hec import HecServer, reply

TOKEN = "demo-token"
CONFIG = """
receive: {{listen: "127.0.0.1:0"}}
spool: {{path: {path}/spool, max_bytes: 64MiB}}
admin: {{listen: "127.0.0.1:0"}}
destinations:
  - name: siem
    type: splunk
    url: "{url}"
    token: {token}
    backoff: {{initial: 200ms, max: 1s}}
    batch: {{max_wait: 200ms}}
  - {{name: disk, type: file, path: {path}/audit.ndjson, batch: {{max_wait: 200ms}}}}
"""
PATIENCE = 60.0
"""Seconds for all of it; it takes two or three."""
PAUSE = 2.0
"""Seconds between two batches while it is kept."""


async def demo(archive: Path, path: Path, *, keep: bool = False) -> bool:
    """Play it; whether all that was promised was seen. `keep`: go on with some traffic until cancelled."""
    refused: list[bytes] = []

    def refuse(event: bytes) -> int | None:
        """The first event that is looked at is one that Splunk will never take."""
        if not refused:
            refused.append(event)
        return 6 if event == refused[0] else None

    async with HecServer(token=TOKEN, script=[reply(9)] * 3, refuse=refuse) as splunk:
        config = parse(CONFIG.format(path=path, url=splunk.url, token=TOKEN).encode(), "demo.yaml", {})
        sink = Sink(config)
        await sink.start()
        say(f"a sink listens at {sink.addresses()['receive']}, its Splunk says 'server is busy' (code 9)")
        with archive.open("rb") as stream:
            batches = [body.data for body in bodies(str(archive), stream, 400, Passed())]
        async with Webhook(sink.addresses()["receive"]) as webhook:
            apiserver = Apiserver(webhook.post, SystemClock())
            await apiserver.storm(batches, 4)
        say(f"{len(apiserver.acknowledged)} batches of a real kube-apiserver were answered 200; they are on disk")
        async with asyncio.timeout(PATIENCE):
            while _pending(sink):  # noqa: ASYNC110 - a person would look now and then, too
                await asyncio.sleep(0.2)
        found = status.document(sink.snapshot())
        say("Splunk took them when it was back, but for one event that it refuses for good:")
        say(tables.status(found))
        siem = next(one for one in found["destinations"] if one["name"] == "siem")
        say(
            "\nThe refused event waits as a dead letter, with the reason, for `auditsink deadletter show` and `replay`."
        )
        try:
            if keep:
                await _go_on(sink, batches)
        finally:
            await sink.stop(5.0)
    return bool(siem["delivered"] == siem["accepted"] - 1 and siem["dead_lettered"] == 1)


async def _go_on(sink: Sink, batches: list[bytes]) -> None:
    """The same batches again and again, each time as other events, for whoever looks at the page."""
    addresses = sink.addresses()
    say(f"It goes on, with some traffic: open {addresses['admin']}/ (Ctrl-C ends it)")
    async with Webhook(addresses["receive"]) as webhook:
        apiserver = Apiserver(webhook.post, SystemClock())
        for turn in itertools.count():
            for batch in batches:
                await apiserver.batch(batch.replace(b'"auditID":"', b'"auditID":"%d-' % turn))
                await asyncio.sleep(PAUSE)


def _pending(sink: Sink) -> bool:
    return any(
        account.pending for destination in sink.snapshot().destinations for account in destination.accounts.values()
    )


def say(text: str) -> None:
    """To the person who looks on."""
    click.echo(text)


@click.command()
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--keep", is_flag=True, help="Go on, with some traffic and the page to look at, until Ctrl-C.")
@click.pass_context
def main(context: click.Context, archive: Path, keep: bool) -> None:
    """Play a bad day of a sink, with the recorded batches of ARCHIVE."""
    with tempfile.TemporaryDirectory(prefix="auditsink-demo-") as path:
        try:
            context.exit(0 if asyncio.run(demo(archive, Path(path), keep=keep)) else 1)
        except KeyboardInterrupt:
            context.exit(0 if keep else 130)


if __name__ == "__main__":
    main()
