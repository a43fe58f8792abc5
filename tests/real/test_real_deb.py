"""The .deb: built with Debian's tools, installed over a copy of this machine's file system, run, removed.

The copy is an overlay in a mount namespace of its own; nothing of it is left. systemd is not started: what its filter
of system calls would refuse is looked for in a trace of the sink.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ground import free_port, tool

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests" / "data" / "batch-default-mixed-http.tar.gz"
EVENTS = "1919"
NEEDED = ("unshare", "setpriv", "dpkg-buildpackage", "dh", "dh_python3", "systemd-sysusers", "curl", "strace")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
OVERLAY = """
set -eu
mount -t tmpfs none {place}
mkdir {place}/upper {place}/work {place}/root
mount -t overlay overlay -o lowerdir=/,upperdir={place}/upper,workdir={place}/work {place}/root
mount -t proc proc {place}/root/proc
mount --rbind /dev {place}/root/dev
mount -t tmpfs none {place}/root/run
mkdir -p {place}/root/opt/tried
mount --bind {files} {place}/root/opt/tried
exec chroot {place}/root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash -eux /opt/tried/inside.sh
"""
INSIDE = """
cd /
dpkg -i /opt/tried/*.deb
test "$(stat -c '%U %G %a' /etc/auditsink)" = "root auditsink 750"
systemd-analyze verify --man=no auditsink.service
install -d -o auditsink -g auditsink -m 0750 /var/lib/auditsink /var/log/auditsink
unprivileged="setpriv --reuid=auditsink --regid=auditsink --clear-groups --no-new-privs --bounding-set=-all"
$unprivileged auditsink check -c /etc/auditsink/config.yaml
auditsink init /etc/auditsink --force --destination file --to /var/log/auditsink/audit.ndjson --cluster prod \
    --credential token --listen 127.0.0.1:{receive} --spool /var/lib/auditsink/spool
sed -i 's/:2020/:{admin}/' /etc/auditsink/config.yaml
$unprivileged auditsink check -c /etc/auditsink/config.yaml
strace -f -o /opt/tried/trace $unprivileged auditsink serve -c /etc/auditsink/config.yaml &
for try in $(seq 100); do curl -sf http://127.0.0.1:{admin}/readyz && break; sleep 0.2; done
auditsink send --url https://127.0.0.1:{receive}/audit/prod --ca /etc/auditsink/apiserver/ca.crt \
    --token-file /etc/auditsink/apiserver/token /opt/tried/batch.tar.gz
for try in $(seq 100); do test "$(wc -l < /var/log/auditsink/audit.ndjson)" = {events} && break; sleep 0.2; done
wc -l < /var/log/auditsink/audit.ndjson > /opt/tried/delivered
auditsink status --url http://127.0.0.1:{admin}
kill -TERM $(pgrep -u auditsink -f 'auditsink serve')
wait
man auditsink-serve | grep -q 'Run the sink'
test -s /usr/share/bash-completion/completions/auditsink
dpkg -r auditsink
test ! -e /usr/bin/auditsink
test ! -e /usr/lib/auditsink
test -e /etc/auditsink/config.yaml
test -d /var/lib/auditsink/spool
dpkg -P auditsink
test ! -e /etc/auditsink/config.yaml
test -d /var/lib/auditsink/spool
echo all is well
"""


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes of this tree."""
    place = tmp_path_factory.mktemp("dist")
    run: list[str | Path] = [sys.executable, "-m", "build", "--outdir", place, ROOT]
    built = subprocess.run(run, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the wheel cannot be built here: {built.stdout[-500:]}{built.stderr[-500:]}")
    pages = place / "pages"
    subprocess.run([sys.executable, ROOT / "config" / "debian" / "pages.py", pages], check=True, cwd=ROOT)
    (sdist,), (wheel,) = place.glob("*.tar.gz"), place.glob("*.whl")
    command = [ROOT / "config" / "debian" / "build.sh", sdist, wheel, pages, place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (made,) = place.glob("*.deb")
    return made


def allowed() -> set[str]:
    """The system calls that the unit's filter lets through, by systemd's own lists."""

    def members(group: str) -> set[str]:
        listed = subprocess.run(
            ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
        ).stdout
        words = {line.strip() for line in listed.splitlines()[1:]} - {""}
        names = {word for word in words if not word.startswith(("@", "#"))}
        return names.union(*(members(word) for word in words if word.startswith("@")))

    unit = (ROOT / "config" / "debian" / "auditsink.service").read_text()
    granted, refused = re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE)
    assert refused.startswith("~")
    denied = set[str]().union(*(members(group) for group in refused[1:].split()))
    return members(granted) - denied | members("@default")


@contextmanager
def overlaid(place: Path, files: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """`files/inside.sh`, run in a copy of this machine's file system."""
    script = OVERLAY.format(place=place, files=files)
    yield subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_it_is_installed_runs_without_any_right_and_leaves_nothing_but_the_events(deb: Path, tmp_path: Path) -> None:
    files, place = tmp_path / "files", tmp_path / "place"
    files.mkdir()
    place.mkdir()
    shutil.copy(deb, files)
    shutil.copy(ARCHIVE, files / "batch.tar.gz")
    ports = {"receive": free_port(), "admin": free_port()}
    (files / "inside.sh").write_text(INSIDE.format(events=EVENTS, **ports))
    with overlaid(place, files) as done:
        assert done.stdout.endswith("all is well\n"), done.stdout[-3000:] + done.stderr[-3000:]
    assert (files / "delivered").read_text().strip() == EVENTS
    trace = (files / "trace").read_text(errors="replace")
    used = set(re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE))
    assert "fdatasync" in used
    ours = trace[trace.index("/usr/bin/auditsink") :]  # what setpriv does before is systemd's part
    assert set(re.findall(r"^\d+ +(\w+)\(", ours, re.MULTILINE)) <= allowed()
    assert not re.search(r"PROT_WRITE\|PROT_EXEC", ours)  # MemoryDenyWriteExecute


def test_lintian_finds_nothing_that_is_ours(deb: Path) -> None:
    command: list[str | Path] = [tool("lintian", "judges packages"), "--allow-root", deb]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    # The libraries come as their makers built them.
    ours = [line for line in said.splitlines() if "[usr/lib/auditsink/" not in line]
    assert not ours
