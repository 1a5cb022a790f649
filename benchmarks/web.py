# SPDX-License-Identifier: Apache-2.0
"""Measures the page in a browser: CPU and memory of its process and of the service, by viewers.

`python -m benchmarks.web [SECONDS]` runs `dronebms run` on two packs in flight and looks at it for SECONDS each way,
default 20: alone, with `dronebms web` without a viewer, with 10 viewers, and with 10 of which 5 read nothing. A
viewer reads the stream without a browser. The ratios are those of one run of one service.
"""

import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic, sleep

from benchmarks.service import compile_program, cpu_s, ground_station, memory_mib, service
from tests.web.process import Stream, WebProcess

VIEWERS, STUCK = 10, 5
WARM_UP_S = 5.0
_CHUNK = 1 << 20


def watched(pids: dict[str, int], seconds: float, viewers: list[Stream]) -> dict[str, float]:
    """Return the share of a core of each process in %, and the bytes a second of one viewer."""
    before_s = {name: cpu_s(Path(f"/proc/{pid}")) for name, pid in pids.items()}
    received, began_s = 0, monotonic()
    while (spent_s := monotonic() - began_s) < seconds:
        sleep(0.1)
        for viewer in viewers:
            try:
                received += len(viewer.connection.recv(_CHUNK))
            except BlockingIOError:
                continue
    shares = {
        name: 100.0 * (cpu_s(Path(f"/proc/{pid}")) - before_s[name]) / spent_s
        for name, pid in pids.items()
    }
    return shares | {"bytes": received / spent_s / max(len(viewers), 1)}


def line(name: str, shares: dict[str, float], pids: dict[str, int], alone_pct: float) -> None:
    """Print one way of watching."""
    text = f"{name:<28}service {shares['service']:5.2f} % of a core ({shares['service'] / alone_pct:.2f} of alone)"
    text += f", {memory_mib(pids['service'])[0]:.1f} MiB"
    if "web" in pids:
        rss, own = memory_mib(pids["web"])
        text += f"; web {shares['web']:5.2f} %, {rss:.1f} MiB, {own:.1f} of it not shared"
    print(text + (f"; {shares['bytes'] / 1000:.1f} kB/s a viewer" if shares["bytes"] else ""))


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        compile_program(folder)
        ground = stack.enter_context(ground_station())
        process = stack.enter_context(service(folder, ground))
        ground.recv(2000)
        sleep(WARM_UP_S)
        pids = {"service": process.pid}
        alone = watched(pids, seconds, [])
        line("service alone", alone, pids, alone["service"])
        web = stack.enter_context(closing(WebProcess(folder / "s.sock")))
        pids["web"] = web.process.pid
        sleep(WARM_UP_S)
        line("page, no viewer", watched(pids, seconds, []), pids, alone["service"])
        viewers = [stack.enter_context(closing(Stream(web))) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.until("event: state")
            viewer.connection.settimeout(0.0)
        line(f"{VIEWERS} viewers", watched(pids, seconds, viewers), pids, alone["service"])
        shares = watched(pids, seconds, viewers[STUCK:])
        line(f"{VIEWERS} viewers, {STUCK} stuck", shares, pids, alone["service"])


if __name__ == "__main__":
    main()
