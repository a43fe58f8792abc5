"""The Dockerfile without a Docker engine: its own steps, run in a mount namespace, and what they leave behind, run.

The final stage is entered as the container runtime would: the file system read-only but for the volume, the numeric
user, no capabilities, no way to new privileges.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("unshare", "setpriv", "mount")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]

CONFIG = """
receive: {listen: "127.0.0.1:0"}
spool: {path: /var/lib/auditsink/spool, max_bytes: 64MiB}
destinations: [{name: disk, type: file, path: /var/lib/auditsink/audit.ndjson}]
"""
SCRIPT = """
set -eu
mount -t tmpfs none /src
mount -t tmpfs none /opt
mount -t tmpfs none /var/lib
mount -t tmpfs none /etc/auditsink
mount -t tmpfs none /var/log
cp -r {copied} /src
cp {config} /etc/auditsink/config.yaml
cd /src
PATH={python}:$PATH
{build}
{final}
rm -rf /src/*
mount -o remount,ro /opt
mount -o remount,bind,ro /
cd /var/lib/auditsink
PATH=/opt/auditsink/bin:$PATH
unprivileged="setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs --bounding-set=-all"
$unprivileged {entrypoint} {command} 2>/var/lib/auditsink/log &
sink=$!
for try in $(seq 60); do
    if $unprivileged {healthcheck} 2>/dev/null; then healthy=yes; break; fi
    sleep 0.5
done
grep -E 'CapEff|NoNewPrivs|^Uid' /proc/$sink/status
if $unprivileged sh -c 'echo x > /opt/auditsink/y' 2>/dev/null; then echo writable; fi
ls /opt/auditsink/bin | grep -E '^(pip|gcc|cc)' || true
kill -TERM $sink
wait $sink && echo "ended with 0, healthy: ${{healthy:-no}}"
cat /var/lib/auditsink/log
"""


def instructions() -> dict[str, list[str]]:
    """What the Dockerfile says, by instruction, lines joined; those of the last stage under `final NAME`."""
    found: dict[str, list[str]] = {}
    stage = 0
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    for line in text.splitlines():
        match = re.match(r"([A-Z]+) +(.*)", line)
        if match is None:
            continue
        stage += match[1] == "FROM"
        found.setdefault(f"{'final ' if stage > 1 else ''}{match[1]}", []).append(match[2])
    return found


def words(lines: list[str]) -> str:
    """A JSON array of an instruction, for a shell."""
    return shlex.join(json.loads(lines[0][lines[0].index("[") :]))


def test_its_steps_make_a_sink_that_runs_without_any_right(tmp_path: Path) -> None:
    steps = instructions()
    (tmp_path / "config.yaml").write_text(CONFIG)
    copied = [source for line in steps["COPY"] for source in line.split()[:-1]]
    user = steps["final USER"][0].split(":")[0]
    assert int(user) > 0
    script = SCRIPT.format(
        copied=" ".join(str(ROOT / one) for one in copied),
        config=tmp_path / "config.yaml",
        python=Path(sys.executable).resolve().parent,
        build="\n".join(steps["RUN"]),
        final="\n".join(steps["final RUN"]),
        user=user,
        entrypoint=words(steps["final ENTRYPOINT"]),
        command=words(steps["final CMD"]),
        healthcheck=words([steps["final HEALTHCHECK"][0]]),
    )
    for place in ("/src", "/etc/auditsink"):
        Path(place).mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert "ended with 0, healthy: yes" in said
    assert re.search(rf"Uid:\s+{user}\s+{user}", said)
    assert "CapEff:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "writable" not in said
    assert not re.search(r"^(pip|gcc|cc)", said, re.MULTILINE)
    assert '"message":"stopped"' in said
