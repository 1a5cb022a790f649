# SPDX-License-Identifier: Apache-2.0
"""Fuzzing guided by coverage: `python -m benchmarks.fuzz [TARGET...] [--seconds N]`.

Gives each reader of `benchmarks.fuzz_targets` inputs that atheris (libFuzzer) changes so that they reach
other branches; needs the extra `fuzz`. A finding is anything but a documented error, an input that takes more
than 10 s, or more than 2 GiB of memory; its input is kept. Inputs that reached something are kept in
build/fuzz/TARGET and are the start of the next run. `--record` adds seconds of processor time, inputs and
findings to docs_build/measured/fuzz.json, the source of docs/quality.md. Exits with 1 after a finding.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dronebms", "smartbattery", "mavlink_bridge", "sim"]):
    from benchmarks.fuzz_targets import TARGETS, Target, raise_logged_exceptions

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "fuzz"
RECORD = ROOT / "docs_build" / "measured" / "fuzz.json"
_LONGEST_S, _MOST_MIB, _MOST_BYTES = 10, 2048, 1 << 16


def fuzz(name: str, target: Target, seconds: int) -> dict[str, int]:
    """Fuzz a target in a child for some seconds; its seconds of processor time, inputs, findings."""
    corpus, seeds, hits = (FOLDER / name / part for part in ("corpus", "seeds", "findings"))
    for folder in (corpus, seeds, hits):
        folder.mkdir(parents=True, exist_ok=True)
    before, log = {*hits.iterdir()}, FOLDER / name / "log"
    arguments = [
        f"-max_total_time={seconds}", f"-timeout={_LONGEST_S}", f"-rss_limit_mb={_MOST_MIB}",
        f"-max_len={_MOST_BYTES}", f"-artifact_prefix={hits}/", "-print_final_stats=1",
        str(corpus), str(seeds),
    ]  # fmt: skip
    pid = os.fork()
    if pid == 0:
        _fuzz_in_child(target, seeds, hits, log, arguments)
    _, status, used = os.wait4(pid, 0)
    code, took_s = os.waitstatus_to_exitcode(status), round(used.ru_utime + used.ru_stime)
    text = log.read_text(encoding="utf-8", errors="replace")
    steps = re.findall(r"^#(\d+)\s.* cov: (\d+) ft: (\d+) corp: (\d+)", text, re.MULTILINE)
    executed = re.findall(r"number_of_executed_units:\s*(\d+)", text)
    inputs, reached, features, held = map(int, steps[-1] if steps else (0, 0, 0, 0))
    inputs = max([inputs, *map(int, executed)])
    found = sorted({*hits.iterdir()} - before)
    print(f"{name:<14}{took_s:>7} s{inputs:>10} inputs;{reached:>6} branches{features:>7} features"
          f"{held:>6} inputs kept; {len(found)} findings", flush=True)  # fmt: skip
    for path in found:
        print(f"    {path}")
    if code or found:
        print(text[-4000:], file=sys.stderr)
    return {"seconds": took_s, "inputs": inputs, "findings": max(len(found), int(code != 0))}


def _fuzz_in_child(
    target: Target, seeds: Path, hits: Path, log: Path, arguments: list[str]
) -> None:
    """Run libFuzzer, which ends the process."""
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for number in (1, 2):
        os.dup2(written, number)
    for number, content in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(content)
    raise_logged_exceptions()

    def run(data: bytes) -> None:
        """Keep the input of a finding; libFuzzer does not where the interpreter ends first."""
        try:
            target.run(data)
        except BaseException:  # noqa: BLE001 - the process ends with it
            (hits / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
            traceback.print_exc()
            os._exit(1)

    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()
    os._exit(0)


def main() -> int:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="*", help=f"of {' '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument(
        "--record", action="store_true", help="add to the counts of docs/quality.md"
    )
    options = parser.parse_args()
    findings = 0
    for name in options.target or TARGETS:
        target = TARGETS[name]
        found = fuzz(name, target, options.seconds)
        findings += found["findings"]
        if options.record:
            kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
            row = kept.get(name, {})
            sums = {key: row.get(key, 0) + count for key, count in found.items()}
            kept[name] = {"room": target.room, "reads": target.reads} | sums
            RECORD.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
