# SPDX-License-Identifier: Apache-2.0
"""ArduPilot's scripting engine, simulated: runs the driver in a Lua interpreter on MAVLink frames.

Needs Lua 5.3, the version in ArduPilot (Debian package lua5.3).
"""

import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.driver_commands import DRIVER_COMMAND

LUA = shutil.which("lua5.3")
STUB = Path(__file__).with_name("lua_host.lua")
needs_lua = pytest.mark.skipif(
    LUA is None, reason="Lua 5.3 is not installed; sudo apt install lua5.3"
)


class LuaHost:
    """A vehicle of system 1 with one script."""

    def __init__(self, script: Path, **parameters: float) -> None:
        assert LUA is not None
        self._process = subprocess.Popen(  # noqa: S603 - the interpreter that was found
            [LUA, str(STUB), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.now_ms = 0
        self._codecs: dict[tuple[int, int, str], mavlink.MAVLink] = {}
        for name, value in (parameters or {"MAV_SYSID": 1.0, "BATT_MONITOR": 29.0}).items():
            self.do(f"P {name} {value}")

    def __enter__(self) -> "LuaHost":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=5.0)

    def do(self, line: str) -> list[str]:
        """Execute one line of the host; return its effects."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        effects: list[str] = []
        while (answer := self._process.stdout.readline().rstrip("\n")) != ".":
            assert answer, f"the interpreter ended: {effects}"
            effects.append(answer)
        return effects

    def start(self) -> list[str]:
        """Return the effects of starting the script."""
        return self.do("S")

    def receive_frame(self, frame: bytes, chan: int = 1) -> None:
        """Receive a MAVLink 2 frame."""
        length, sequence, system, component = frame[1], frame[4], frame[5], frame[6]
        number = int.from_bytes(frame[7:10], "little")
        payload = frame[10 : 10 + length].hex()
        self.do(f"M {chan} {system} {component} {number} {sequence} {payload}")

    def receive(
        self,
        message: Any,  # noqa: ANN401 - a message
        component: int = 180,
        system: int = 1,
        *,
        chan: int = 1,
        sender: str = "",
    ) -> None:
        """Receive a message of a component; each sender of one counts its frames for itself."""
        codec = self._codecs.setdefault(
            (system, component, sender), mavlink.MAVLink(None, system, component)
        )
        self.receive_frame(bytes(message.pack(codec)), chan)
        codec.seq = (codec.seq + 1) % 256

    def run(self, seconds: float = 0.05) -> list[str]:
        """Run the script for a time, twenty times a second; return the effects."""
        effects: list[str] = []
        for _ in range(round(seconds * 20)):
            self.now_ms += 50
            self.do(f"T {self.now_ms}")
            effects += self.do("U")
        return effects


def fields(effects: list[str]) -> dict[str, str]:
    """Fields of the only battery state of the script; its instance is `index`."""
    (line,) = [line for line in effects if line.startswith("battery ")]
    _, index, *rest = line.split(" ")
    return {"index": index} | dict(word.split("=") for word in rest)


def acknowledged(effects: list[str]) -> list[tuple[int, int, int, int, int]]:
    """Result, version, warnings and target of each acknowledgement that the script has sent."""
    answers = []
    for line in effects:
        if line.startswith("send "):
            number, *rest = struct.unpack("<HBBiBB", bytes.fromhex(line.split(" ")[3]))
            assert number == DRIVER_COMMAND
            answers.append((rest[0], rest[1], rest[2], rest[3], rest[4]))
    return answers


def those(effects: list[str], word: str) -> list[str]:
    """Rest of each effect that begins with a word."""
    return [line.removeprefix(f"{word} ") for line in effects if line.startswith(f"{word} ")]
