"""`auditsink send`: post what files hold as a kube-apiserver would, with its patience; or follow a log that grows."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import click

from auditsink.apiserver.webhook import Webhook, tls_context
from auditsink.cli import send_files, send_follow
from auditsink.common.secret import Secret, UnreadableFileError, WatchedFile, parse_secret

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LOG = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_GROWING = click.Path(dir_okay=False, path_type=Path)


def _files(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Path, ...]:
    """Files that are there, or the one that is followed, which need not be there yet."""
    kind = _GROWING if context.params.get("follow") else _LOG
    return tuple(Path(kind.convert(one, parameter, context)) for one in given)


@click.command("send")
@click.argument("files", nargs=-1, required=True, callback=_files, metavar="FILE...")
@click.option(
    "--follow", is_flag=True, is_eager=True, help="Go on with FILE as it grows, over rotations; needs --state."
)
@click.option("--state", type=_GROWING, metavar="FILE", help="Where --follow keeps the place that it has reached.")
@click.option("--url", default="http://127.0.0.1:9880/audit", show_default=True, help="Where to post.")
@click.option("--ca", type=FILE, metavar="FILE", help="CA that signed the sink's certificate (PEM).")
@click.option("--cert", type=FILE, metavar="FILE", help="Client certificate (PEM).")
@click.option("--key", type=FILE, metavar="FILE", help="Its key (PEM).")
@click.option("--token-file", type=FILE, metavar="FILE", help="File with the bearer token; needs https.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="EVENTS_PER_S", help="No faster than this."
)
@click.option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=400,
    show_default=True,
    help="Events a batch, for audit logs; recorded EventLists are sent as they are.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Batches posted at once; with --follow always one.",
)
def command(
    *,
    files: tuple[Path, ...],
    follow: bool,
    state: Path | None,
    url: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    token_file: Path | None,
    rate: float | None,
    batch: int,
    connections: int,
) -> int:
    """Post what files hold, as a kube-apiserver would.

    FILE is an audit log, as it lies about: an event a line, an EventList a line, one event or list over several lines,
    a container's log (CRI, docker), with a node's or pod's name before each line (oc adm node-logs, kubectl logs),
    or what a cloud or collector made of it (CloudWatch, Azure Monitor, Google Cloud Logging and others); also packed
    (gzip, xz, bzip2, zstd) and in archives (tar, zip). "-" is standard input. A line that holds no whole event is
    passed over and said with its number.

    A batch that is not taken is tried five times, after 10, 15, 22 and 34 s; an answer that cannot change ends the run.

    \b
    Examples:
      auditsink send tests/data/batch-default-mixed-http.tar.gz
      auditsink send /var/log/kubernetes/audit.log --rate 500
      oc adm node-logs --role=master --path=kube-apiserver/audit.log | auditsink send -
      auditsink send --follow /var/log/kubernetes/audit.log --state /var/lib/auditsink/audit.place
      auditsink send a.json --url https://sink:9880/audit/prod --ca ca.pem --token-file token
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    if follow and (len(files) != 1 or str(files[0]) == "-"):
        raise click.UsageError("--follow goes on with one FILE; start one auditsink send for each.")
    if follow != (state is not None):
        raise click.UsageError("--follow and --state belong together: the place in the log is kept in a file.")
    webhook = _webhook(
        url=url, ca=ca, cert=cert, key=key, token_file=token_file, connections=1 if follow else connections
    )
    if state is not None:
        return send_follow.run(files[0], state, webhook, batch=batch, rate=rate)
    return send_files.run(files, webhook, batch=batch, connections=connections, rate=rate)


def _webhook(
    *, url: str, ca: Path | None, cert: Path | None, key: Path | None, token_file: Path | None, connections: int
) -> Webhook:
    scheme, secure = _scheme(url), bool(ca or cert or key or token_file)
    if secure and scheme == "http":
        raise click.UsageError(
            "--ca, --cert, --key and --token-file need an https:// URL: nothing is sent in the clear."
        )
    if bool(cert) != bool(key):
        raise click.UsageError("--cert and --key belong together.")
    try:
        tls = tls_context(ca, cert, key) if scheme == "https" else None
        token = _token(token_file) if token_file else None
    except UnreadableFileError as problem:
        raise click.ClickException(f"--token-file {problem}") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
        raise click.ClickException(f"--ca, --cert or --key: not usable ({reason}); give PEM files that fit") from None
    return Webhook(url, tls=tls, token=token, connections=connections)


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.UsageError("--url is no URL; write http:// or https:// and a host.")
    return parts.scheme


def _token(path: Path) -> Callable[[], Secret]:
    watched: WatchedFile[Secret] = WatchedFile(path, parse_secret)

    def current() -> Secret:
        watched.changed()
        return watched.get()

    return current
