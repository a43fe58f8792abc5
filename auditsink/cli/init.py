"""`auditsink init`: asks, and writes a configuration, and what the kube-apiserver needs to post to it."""

import os
import secrets as randomness
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.types import convert_type

from auditsink.cli.init_files import DESTINATIONS, Answers, Credential, NewFile, Secrets, files
from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.common.listen import Address, parse_address
from auditsink.load import parse

CERTIFICATE_SECONDS = 2 * 365 * 86_400.0
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with
CREDENTIALS = {
    "none": "none: an apiserver on this machine, over plain HTTP on loopback",
    "token": "token: HTTPS, and a token that names the cluster",
    "certificate": "certificate: HTTPS, and a client certificate that names the cluster",
}
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True)
_PLACE = click.Path(path_type=Path, file_okay=False, resolve_path=True)


@click.command("init")
@click.argument("directory", type=_PLACE, default="auditsink")
@click.option("--destination", type=click.Choice([*DESTINATIONS]), help="Where the events go.")
@click.option(
    "--to", metavar="WHERE", help="A path, a URL, HOST:PORT,HOST:PORT or a bucket, as the destination wants it."
)
@click.option("--secret-file", type=_FILE, help="Splunk's HEC token, or a bearer token for http, alone in a file.")
@click.option("--cluster", metavar="NAME", help="The cluster whose trail it is.")
@click.option("--credential", type=click.Choice([*CREDENTIALS]), help="What the apiserver must show.")
@click.option("--listen", metavar="HOST:PORT", help="Where the sink listens.")
@click.option("--server", metavar="HOST:PORT", help="By which name the apiserver reaches it; left out: this machine's.")
@click.option("--tls-cert", type=_FILE, help="A server certificate of yours; left out: one is made, and a CA.")
@click.option("--tls-key", type=_FILE, help="Its key.")
@click.option("--tls-ca", type=_FILE, help="The CA that signed it, if the apiserver's system does not know it.")
@click.option("--spool", type=_PLACE, help="Where batches are kept until they are delivered; left out: in DIRECTORY.")
@click.option(
    "--apiserver-directory", default="/etc/kubernetes/auditsink", show_default=True,
    help="Where DIRECTORY/apiserver will be in the apiserver's pod.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(directory: Path, force: bool, **given: Any) -> int:
    """Write a configuration, and the kubeconfig, flags and policy of its kube-apiserver, into DIRECTORY.

    Asks at a terminal for what no option says. Made are tokens and, for HTTPS, a CA and certificates; nothing is sent
    anywhere, and no file is replaced without --force.

    \b
    Example:
      auditsink init --destination splunk --to https://splunk:8088 --secret-file hec-token --cluster prod
      auditsink init /etc/auditsink --force --destination file --to /var/log/auditsink/audit.ndjson \\
        --cluster prod --credential token --listen 0.0.0.0:9880 --spool /var/lib/auditsink/spool
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    wanted, typed_secret = _answers(directory, given)
    made: dict[str, NewFile] = {}
    if typed_secret:
        made["destination-token"] = NewFile(f"{typed_secret}\n".encode(), secret=True)
    found, ours = _certificates(wanted, given["tls_ca"], made=given["tls_cert"] is None)
    made |= files(wanted, found) | ours
    parse(made["config.yaml"].content, "what would be written to config.yaml", {})
    _write(directory, made, force=force)
    _say_what_next(wanted, made)
    return 0


def _answers(directory: Path, given: dict[str, Any]) -> tuple[Answers, str]:
    """What is wanted, and a secret that was typed."""
    kind = _asked(given, "destination", "Where do the events go", "file", click.Choice([*DESTINATIONS]))
    about = DESTINATIONS[kind]
    default = about.example if kind == "file" else None
    to = _asked(given, "to", f"What is {about.to}, like {about.example}", default) if about.example else ""
    secret_file, typed = given["secret_file"], ""
    if about.needs_secret and secret_file is None:
        secret_file, typed = directory / "destination-token", _typed_secret()
    cluster = _asked(given, "cluster", "What is the cluster called", "default", _cluster)
    question = "\n".join(["What must its apiserver show?", *(f"  {one}" for one in CREDENTIALS.values()), "Credential"])
    credential: Credential = _asked(given, "credential", question, "none", click.Choice([*CREDENTIALS]))
    default = "127.0.0.1:9880" if credential == "none" else "0.0.0.0:9880"
    listen = _asked(given, "listen", "Where does the sink listen", default, _address)
    address = parse_address(listen)
    if credential == "none" and not address.loopback:
        raise click.UsageError("--credential none is for loopback only: anybody who reaches the port could post.")
    here = socket.gethostname() if address.host in EVERYWHERE else address.host
    question = "By which name does the apiserver reach it"
    server = _asked(given, "server", question, str(Address(here, address.port)), _address)
    if bool(given["tls_cert"]) is not bool(given["tls_key"]):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    wanted = Answers(
        directory=directory,
        destination=kind,
        to=str(Path(to).absolute()) if kind == "file" else to,
        secret_file=secret_file,
        cluster=cluster,
        listen=listen,
        server=server,
        credential=credential,
        spool=given["spool"] or directory / "spool",
        tls_cert=given["tls_cert"] or directory / "server.crt",
        tls_key=given["tls_key"] or directory / "server.key",
        apiserver_directory=given["apiserver_directory"],
    )
    return wanted, typed


def _asked(
    given: dict[str, Any],
    name: str,
    question: str,
    default: str | None,
    check: Callable[[str], str] | click.Choice[str] = str,
) -> Any:
    """The option's value, else a person's answer; without a person the default."""
    value = given[name]
    if value is None and _person():
        return click.prompt(question, default=default, type=convert_type(check), err=True)
    if value is None and default is None:
        raise click.UsageError(f"--{name} is missing: {question[0].lower()}{question[1:]}?")
    answer = str(value or default or "")
    return answer if isinstance(check, click.Choice) else check(answer)


def _person() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


def _typed_secret() -> str:
    if not _person():
        raise click.UsageError("--secret-file is missing: a file with the HEC token.")
    return str(click.prompt("The HEC token (not shown)", hide_input=True, err=True)).strip()


def _cluster(name: str) -> str:
    if not CLUSTER.match(name):
        raise click.BadParameter(CLUSTER_RULE, param_hint="--cluster")
    return name


def _address(text: str) -> str:
    try:
        parse_address(text)
    except ValueError as problem:
        raise click.BadParameter(f"it {problem}", param_hint="--listen, --server") from None
    return text


def _certificates(wanted: Answers, their_ca: Path | None, *, made: bool) -> tuple[Secrets, dict[str, NewFile]]:
    """Tokens and certificates, and the files of the sink itself. `made`: the server's certificate is ours."""
    admin, token = randomness.token_hex(32), randomness.token_hex(32)
    ca = their_ca.read_bytes() if their_ca else None
    if wanted.credential == "none" or (wanted.credential == "token" and not made):
        return Secrets(admin, token, ca), {}
    try:
        from auditsink.gardener.certificates import issue  # noqa: PLC0415 - needs what not everybody installs
        from auditsink.gardener.certificates.wanted import Authority, Leaf  # noqa: PLC0415
    except ModuleNotFoundError:
        raise click.ClickException(
            "certificates are made with a library that is not installed: pip install 'auditsink[evidence]', "
            "or give --tls-cert and --tls-key with --credential token"
        ) from None
    now = time.time()
    signer = issue.authority(Authority("auditsink"), now)
    ours = {"ca.key": NewFile(signer.key, secret=True)}
    if made:
        host = parse_address(wanted.server).host
        names = tuple(dict.fromkeys([host, "localhost", "127.0.0.1"]))
        pair = issue.leaf(Leaf("server", "auditsink", "server", names, CERTIFICATE_SECONDS), signer, now)
        ours |= {"server.crt": NewFile(pair.certificate), "server.key": NewFile(pair.key, secret=True)}
        ca = signer.certificate
    client = issue.leaf(Leaf("client", wanted.cluster, "client", seconds=CERTIFICATE_SECONDS), signer, now)
    return Secrets(admin, token, ca, signer.certificate, client.certificate, client.key), ours


def _write(directory: Path, made: dict[str, NewFile], *, force: bool) -> None:
    there = [directory / name for name in made if (directory / name).exists()]
    if there and not force:
        raise click.ClickException(f"{there[0]} is there already; choose another directory, or --force to replace it")
    try:
        for name, one in made.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            path.unlink(missing_ok=True)
            mode = 0o640 if one.secret else 0o644
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(one.content)
            if os.geteuid() == 0:  # as /etc/auditsink of the .deb: root's, and to be read by the sink's group
                os.chown(path, -1, directory.stat().st_gid)
    except OSError as problem:
        raise click.ClickException(f"{problem.filename or directory}: {problem.strerror}; choose another") from None


def _say_what_next(wanted: Answers, made: dict[str, NewFile]) -> None:
    place = wanted.directory
    click.echo(f"Written to {place}: {', '.join(sorted(made))}")
    click.echo(f"""
Next:
  1. auditsink check -c {place}/config.yaml --connect
     auditsink serve -c {place}/config.yaml
  2. Copy {place}/apiserver to {wanted.apiserver_directory} where the apiserver runs, mount it into its pod,
     and add the flags in flags.yaml to its command. It posts to {wanted.server}.
  3. auditsink doctor -c {place}/config.yaml --kubeconfig {place}/apiserver/kubeconfig.yaml \\
       --apiserver {place}/apiserver/flags.yaml""")
    if "server.crt" in made or "apiserver/client.crt" in made:
        ends = datetime.fromtimestamp(time.time() + CERTIFICATE_SECONDS, UTC).date()
        click.echo(f"\nThe certificates end on {ends}; ca.key signs others, keep it where nobody finds it.")
