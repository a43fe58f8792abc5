"""`python tests/fuzz/long_form.py`: each target under atheris, guided by coverage, for its share of the time.

AUDITSINK_FUZZ_SECONDS: for all together, 600 by default. Each runs in a process of its own; a table tells what was
tried. An input that breaks a target is left in the directory that is named, and the exit code is 1.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

for folder in ("", "receive"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

SECONDS = int(os.environ.get("AUDITSINK_FUZZ_SECONDS", "600"))


def one(name: str, place: Path, seconds: int) -> None:
    """Run this target until the time is over. Does not return."""
    import atheris  # noqa: PLC0415 - only here: it instruments what is imported after it

    with atheris.instrument_imports(include=["auditsink"]):
        from targets import TARGETS  # noqa: PLC0415

    target = TARGETS[name]
    seeds = place / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(target.seeds):
        (seeds / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={place}/", str(seeds)], target.run)
    atheris.Fuzz()


def main() -> int:
    """All of them, one after the other."""
    from targets import TARGETS  # noqa: PLC0415

    broken = 0
    for name in TARGETS:
        place = Path(tempfile.mkdtemp(prefix="auditsink-fuzz-"))
        share = max(1, SECONDS // len(TARGETS))
        ended = subprocess.run(
            [sys.executable, __file__, name, str(place), str(share)], capture_output=True, text=True, check=False
        )
        tried = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
        bad = sorted(path.name for path in place.glob("[a-z]*-*"))
        sys.stdout.flush()
        broken += bool(bad or ended.returncode)
        sys.stdout.write(f"{name}: {tried[1] if tried else '?'} inputs in {share} s, {len(bad)} broke it\n")
        if bad or ended.returncode:
            sys.stdout.write(f"  {place}: {bad}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    if len(sys.argv) == 4:
        one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    sys.exit(main())
