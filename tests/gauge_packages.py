# SPDX-License-Identifier: Apache-2.0
"""Packages with gauges, as pip leaves them in a folder of `sys.path`."""

from pathlib import Path

import pytest

SOUND = """
from smartbattery.snapshot import Snapshot

INTERFACE = 1


class Gauge:
    def poll(self, now_s):
        return Snapshot(now_s, voltage_v=24.0, cells_v=(4.0,) * 6, read_at_s={"voltage_v": now_s})

    def close(self):
        pass


def open_gauge(bus, cells):
    return Gauge()


def trouble_of(bus):
    return None
"""


def install(
    folder: Path, patch: pytest.MonkeyPatch, scheme: str, code: str = SOUND, name: str = ""
) -> str:
    """Install a package of one module with an entry point; its name, which is its module's."""
    name = name or f"gauges_of_{folder.name}_{scheme}".replace("-", "_")
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[dronebms.gauges]\n{scheme} = {name}\n")
    patch.syspath_prepend(str(folder))
    return name
