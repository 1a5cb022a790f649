# SPDX-License-Identifier: Apache-2.0
"""What a vehicle receives about a battery, compared with the true pack. Library.

A value that is sent is wrong beyond these bounds; they are wider than the errors of an intact
gauge and its estimate, which a flight without a fault shows (the campaign prints it).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pymavlink.dialects.v20 import common as mavlink

from sim.plant.ground_truth import GroundTruth

CELL_V, PACK_FRAC = 0.1, 0.03
CURRENT_FRAC, CURRENT_A = 0.25, 1.0
CHARGE_POINTS = 10.0
TIME_TIMES, TIME_S = 1.5, 60.0  # time to empty that is too long; a short one is safe
TEMPERATURE_K = 10.0
_WINDOW_S = 3.0  # age of a valid reading, measurement and rate of the message
_VERSION = mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION
_UNUSED_MV, _NO_TEMPERATURE = 0xFFFF, 0x7FFF
_PX4_118 = 1 << 24 | 18 << 16 | 255
_SYSTEM, _AUTOPILOT, _PX4, _QUADROTOR = 1, 1, 12, 2
_ARMED = 128


class ListeningVehicle:
    """A link to a PX4 that takes everything that a battery component may send.

    Attributes:
        statuses: BATTERY_STATUS received since they were last taken.
    """

    is_open, trouble = True, None

    def __init__(self) -> None:
        self.statuses: list[mavlink.MAVLink_battery_status_message] = []
        self._codec = mavlink.MAVLink(None, _SYSTEM, _AUTOPILOT)
        self._codec.robust_parsing = True
        self._out: list[bytes] = []

    def send(self, data: bytes, _now_s: float) -> bool:
        """Take a frame of the bridge."""
        for message in self._codec.parse_buffer(data) or ():
            if message.get_type() == "BATTERY_STATUS":
                self.statuses.append(message)
            elif message.get_type() == "COMMAND_LONG" and message.param1 == _VERSION:
                zeros = [0] * 8
                self._emit(
                    mavlink.MAVLink_autopilot_version_message(
                        0, _PX4_118, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0
                    )
                )
        return True

    def receive(self, _now_s: float) -> list[bytes]:
        """Frames of the vehicle."""
        frames, self._out = self._out, []
        return frames

    def beat(self, *, armed: bool) -> None:
        """Send a heartbeat."""
        base = 1 | (_ARMED if armed else 0)
        self._emit(mavlink.MAVLink_heartbeat_message(_QUADROTOR, _PX4, base, 3 << 24, 4, 3))

    def _emit(self, message: mavlink.MAVLink_message) -> None:
        self._out.append(bytes(message.pack(self._codec)))


@dataclass(frozen=True, slots=True)
class _Moment:
    truth: GroundTruth
    left_s: float | None


class SentValues:
    """The true pack of the last seconds, with which a message is compared.

    Args:
        full_mah: true full charge of the emptiest cell.
        gauge_full_mah: full charge capacity of the intact gauge, from which ArduPilot subtracts
            the consumed charge (BATT_CAPACITY).
    """

    def __init__(self, full_mah: float, gauge_full_mah: float) -> None:
        self._full_mah, self._gauge_full_mah = full_mah, gauge_full_mah
        self._window: deque[_Moment] = deque()

    def note(self, truth: GroundTruth, left_s: float | None) -> None:
        """Record a moment; `left_s` is the true time to empty, `None` if it is not known."""
        self._window.append(_Moment(truth, left_s))
        while truth.t_s - self._window[0].truth.t_s > _WINDOW_S:
            self._window.popleft()

    def wrong(self, message: mavlink.MAVLink_battery_status_message) -> Iterator[str]:
        """A text for each value of a message that is wrong; what is marked unknown is not."""
        yield from self._wrong_voltages(message)
        yield from self._wrong_charge(message)
        truth = self._window[-1].truth
        if message.current_battery != -1:
            amps, true_a = message.current_battery / 100.0, truth.current_a
            if self._off(amps, lambda t: t.current_a) > CURRENT_FRAC * true_a + CURRENT_A:
                yield f"{amps:.1f} A, truly {true_a:.1f} A"
        degc = message.temperature / 100.0
        if (
            message.temperature != _NO_TEMPERATURE
            and self._off(degc, lambda t: t.temperature_degc) > TEMPERATURE_K
        ):
            yield f"{degc:.0f} degC, truly {truth.temperature_degc:.0f} degC"

    def _wrong_voltages(self, message: mavlink.MAVLink_battery_status_message) -> Iterator[str]:
        truth = self._window[-1].truth
        cells_v = [mv / 1000.0 for mv in message.voltages if mv != _UNUSED_MV]
        cells_v += [mv / 1000.0 for mv in message.voltages_ext if mv]
        pack_v = sum(cells_v)
        if cells_v and self._off(pack_v, lambda t: t.voltage_v) > PACK_FRAC * truth.voltage_v:
            yield f"pack {pack_v:.2f} V, truly {truth.voltage_v:.2f} V"
        if len(cells_v) == len(truth.cells_v):
            for k, cell_v in enumerate(cells_v):
                if self._off(cell_v, partial(_cell_v, index=k)) > CELL_V:
                    yield f"cell {k + 1} {cell_v:.2f} V, truly {truth.cells_v[k]:.2f} V"

    def _wrong_charge(self, message: mavlink.MAVLink_battery_status_message) -> Iterator[str]:
        now = self._window[-1]
        pct, soc_pct = message.battery_remaining, 100.0 * now.truth.soc_frac
        if pct != -1 and abs(pct - soc_pct) > CHARGE_POINTS:
            yield f"{pct} %, truly {soc_pct:.0f} %"
        left_mah = self._gauge_full_mah - message.current_consumed
        off_pct = 100.0 * left_mah / self._full_mah - soc_pct
        if message.current_consumed != -1 and abs(off_pct) > CHARGE_POINTS:
            yield f"{message.current_consumed} mAh used, {left_mah:.0f} left, truly {soc_pct:.0f} %"
        if now.left_s is not None and message.time_remaining > now.left_s * TIME_TIMES + TIME_S:
            yield f"{message.time_remaining} s left, truly {now.left_s:.0f} s"

    def _off(self, value: float, true: Callable[[GroundTruth], float]) -> float:
        """Distance of a value from the range of the true ones in the window."""
        values = [true(moment.truth) for moment in self._window]
        return max(min(values) - value, value - max(values), 0.0)


def _cell_v(truth: GroundTruth, index: int) -> float:
    return truth.cells_v[index]
