# SPDX-License-Identifier: Apache-2.0
"""The service as a process, which can be killed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# A pack in flight from the start; the governor limits its current before a limit vetoes arming.
BUSY = """
[[battery]]
bus = "sim:{scenario}"
limp_home_a = {limp_home_a}
continuous_c = 1.2
burst_c = 3.0
[mavlink]
url = "udpin:127.0.0.1:{port}"
[state]
dir = "{state}"
[[limit]]
id = "current_60s_critical"
trip = 47.0
clear = 40.0
[[limit]]
id = "heat_critical"
trip = 60.0
clear = 50.0
{actions}
"""
HOVER = """
about = "hovers from the first second on"
[pack]
chemistry = "lipo"
cells = 6
parallel = 2
cell_mah = 8000.0
cutoff_cell_v = 3.3
resistance_mohm_ah = 40.0
ocv_bend_v = 0.012
ocv_tilt_v = -0.008
[gauge]
device = "6S2P 16000"
ip_scale = 1
[vehicle]
mass_kg = 5.3
payload_kg = 0.45
rotors = 6
rotor_diameter_m = 0.381
drag_area_m2 = 0.08
avionics_w = 14.0
[[phase]]
name = "hover"
duration_s = 1200.0
"""


class Process:
    """`dronebms run` with a configuration."""

    def __init__(self, folder: Path, port: int, actions: str, *, limp_home_a: float = 19.0) -> None:
        self.state = folder / "state"
        self._config, self._log = folder / "dronebms.toml", (folder / "service.log").open("ab")
        (folder / "hover.toml").write_text(HOVER)
        self._values: dict[str, Any] = {
            "scenario": folder / "hover.toml",
            "limp_home_a": limp_home_a,
            "port": port,
            "state": self.state,
        }
        self._process = self.start(actions)

    def start(self, actions: str) -> "subprocess.Popen[bytes]":
        """Start the service with these actions."""
        self._config.write_text(BUSY.format(actions=actions, **self._values))
        self._process = subprocess.Popen(  # noqa: S603 - this project's own command
            [sys.executable, "-m", "dronebms.cli", "run", "-c", str(self._config)],
            env=dict(os.environ), stderr=self._log,
        )  # fmt: skip
        return self._process

    def kill(self) -> None:
        """End the service by SIGKILL."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """End the service as systemd does; return its exit code."""
        self._process.terminate()
        return self._process.wait(timeout=60.0)

    def close(self) -> None:
        """End the service and close its log."""
        self.kill()
        self._log.close()
