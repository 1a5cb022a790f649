# SPDX-License-Identifier: Apache-2.0
"""Records the output of the product for fixed inputs, to compare two versions.

`python benchmarks/golden.py record FOLDER [CHECKOUT]` runs the commands of a checkout (this one by
default) on every scenario and on every flight of tests/data/flights and `$DRONEBMS_FLIGHTS`, and
writes their JSON lines, the decoded MAVLink messages of seeded flights (without STATUSTEXT and
sequence numbers) and the exit codes of good and bad command lines.
`python benchmarks/golden.py compare OLD NEW` prints what differs, per file and JSON key, and exits
with 1 if anything does. Both folders must come from one machine: numpy's last bit does not
travel.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pymavlink.dialects.v20 import ardupilotmega as dialect

HERE = Path(__file__).resolve().parents[1]
SCENARIOS = sorted(path.stem for path in (HERE / "sim" / "scenarios").glob("*.toml"))
FAULTS = ("short_frames", "stuck_current")
MAVLINK_S = 240
RECEIVE_BYTES = 1 << 26
BAD = (
    "sim --flight nothing",
    "sim --fault nothing",
    "sim --speed -1",
    "sim --seed x",
    "replay nothing.csv",
    "replay README.md",
    "report nothing.csv -o x.html",
    "probe --bus /dev/nothing",
    "status --socket /nothing",
    "check -c nothing.toml",
    "run -c nothing.toml",
    "nothing",
    "packs --state-dir /nothing",
    "--help",
    "check -c packaging/dronebms.toml",
)


def command(checkout: Path, words: str, out: Path, folder: Path) -> int:
    """Run a command of a checkout with its output in a file; return its exit code."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "HOME": str(folder)}
    with out.open("wb") as file:
        argv = [sys.executable, "-m", "dronebms.cli", *words.split()]
        done = subprocess.run(  # noqa: S603 - our own command
            argv, stdout=file, stderr=subprocess.DEVNULL, cwd=checkout, env=environment, check=False
        )
    return done.returncode


def received(peer: socket.socket, out: Path, ended: threading.Event) -> None:
    """Write the messages that arrive at a socket as JSON lines until `ended`."""
    parser = dialect.MAVLink(None)
    with out.open("w") as file:
        while True:
            try:
                data = peer.recv(65_536)
            except TimeoutError:
                if ended.is_set():
                    return
                continue
            for message in parser.parse_buffer(data) or ():
                fields = message.to_dict()
                if fields["mavpackettype"] != "STATUSTEXT":
                    source = message.get_srcSystem(), message.get_srcComponent()
                    file.write(json.dumps({"from": source} | fields, default=repr) + "\n")


def mavlink(checkout: Path, scenario: str, out: Path, folder: Path) -> int:
    """Write the messages of a seeded flight."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(0.5)
        ended = threading.Event()
        thread = threading.Thread(target=received, args=(peer, out, ended))
        thread.start()
        url = f"udpout:127.0.0.1:{peer.getsockname()[1]}"
        words = f"sim --flight {scenario} --duration {MAVLINK_S} --speed max --headless --seed 3"
        code = command(checkout, f"{words} --mavlink {url}", Path(os.devnull), folder)
        ended.set()
        thread.join()
    return code


def flights() -> Iterator[Path]:
    """Yield the flights to replay."""
    folders = [HERE / "tests" / "data" / "flights"]
    if "DRONEBMS_FLIGHTS" in os.environ:
        shared = Path(os.environ["DRONEBMS_FLIGHTS"])
        folders += [shared / name for name in ("model", "model_s1", "real", "logs")]
    for folder in folders:
        yield from sorted(p for p in folder.glob("*") if p.suffix not in (".json", ".md"))


def record(folder: Path, checkout: Path) -> None:
    """Write everything into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp())
    codes: dict[str, int] = {}
    jobs = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in SCENARIOS:
            words = f"sim --flight {name} --json --speed max --seed 7"
            jobs[words] = pool.submit(command, checkout, words, folder / f"sim_{name}.jsonl", home)
        for path in flights():
            out = folder / f"replay_{path.parent.name}_{path.name}.jsonl"
            text = Path(os.devnull)
            words = f"replay {path} --out {out}"
            named = f"replay {path.name}"
            jobs[named] = pool.submit(command, checkout, words, text, home)
        for name in ("survey", "bq40", "cold_climb", "lost_string"):
            out = folder / f"mavlink_{name}.jsonl"
            jobs[f"mavlink {name}"] = pool.submit(mavlink, checkout, name, out, home)
        for words in BAD:
            jobs[words] = pool.submit(command, checkout, words, Path(os.devnull), home)
        codes = {name: job.result() for name, job in jobs.items()}
    (folder / "exit_codes.json").write_text(json.dumps(codes, indent=1) + "\n")
    shutil.rmtree(home)


def differences(old: Path, new: Path) -> Counter[str]:
    """Return how many lines differ, by JSON key."""
    found: Counter[str] = Counter()
    before, after = old.read_text().splitlines(), new.read_text().splitlines()
    if len(before) != len(after):
        found[f"lines: {len(before)} and {len(after)}"] += 1
    for first, second in zip(before, after, strict=False):
        if first == second:
            continue
        try:
            one, other = json.loads(first), json.loads(second)
        except ValueError:
            found["text"] += 1
            continue
        if not isinstance(one, dict) or not isinstance(other, dict):
            found["text"] += 1
            continue
        for key in one.keys() | other.keys():
            if one.get(key, "missing") != other.get(key, "missing"):
                found[key] += 1
    return found


def compare(old: Path, new: Path) -> int:
    """Print what differs between two folders; return 1 if anything does."""
    names = sorted({p.name for p in old.iterdir()} | {p.name for p in new.iterdir()})
    differ = 0
    for name in names:
        if not (old / name).exists() or not (new / name).exists():
            differ += 1
            print(f"{name}: in one folder alone")
            continue
        if found := differences(old / name, new / name):
            differ += 1
            print(f"{name}: {', '.join(f'{key} {count}' for key, count in found.most_common())}")
    print(f"{len(names)} files compared, {differ} differ")
    return int(differ > 0)


def main() -> int:
    """Record or compare."""
    match sys.argv[1:]:
        case ["record", folder, *rest]:
            record(Path(folder).resolve(), Path(rest[0]).resolve() if rest else HERE)
            return 0
        case ["compare", old, new]:
            return compare(Path(old), Path(new))
        case _:
            print(__doc__)
            return 2


if __name__ == "__main__":
    sys.exit(main())
