# SPDX-License-Identifier: Apache-2.0
"""Another date for a process; all its other clocks are left alone."""

import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("stepped_date.c")


class SteppedDate:
    """The date of processes that were started with `environ`: that of the machine plus an offset.

    Args:
        folder: of the library, which the C compiler makes.
    """

    def __init__(self, folder: Path) -> None:
        self._path, library = folder / "date", folder / "stepped_date.so"
        self.set(0.0)
        if not library.exists():
            words = ("cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl")
            subprocess.run(words, check=True, capture_output=True)  # noqa: S603 - constants
        self.environ = {"LD_PRELOAD": str(library), "STEPPED_DATE": str(self._path)}

    def set(self, offset_s: float) -> None:
        """Step the date; in place, because the processes have the file mapped."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("=q", round(offset_s * 1e9)))
