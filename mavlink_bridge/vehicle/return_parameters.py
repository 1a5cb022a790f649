# SPDX-License-Identifier: Apache-2.0
"""Return and speeds of the vehicle, by the parameters of its autopilot; reads and never sets.

The parameters of the followed firmware are read after each start, a few at a time, and again every
minute; a value that the autopilot sends to any component is used at once. One that is absent, or
whose value is impossible, is unknown and named in `ReturnPlan.missing`. Where the release is not
known, the other name of a renamed parameter is tried.
"""

import math
from collections.abc import Sequence

from dronebms.core.flight_plan import Agility, ReturnPlan, Speeds
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_modes import (
    FIXED_WING_TYPE,
    ROVER_TYPES,
    VTOL_TYPES,
    firmware_of,
)
from mavlink_bridge.protocol.mission_items import UNKNOWN_CIRCLES
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.vehicle.return_parameter_rows import PX4, RETURN_PARAMETERS, ReturnParameter
from mavlink_bridge.vehicle.return_plans import PLANS, Read, agility_of, circles_of

_AGAIN_S = 60.0
_ABSENT_ROUNDS = 10  # of which one requests also what was absent
_WINDOW = 4  # requests without an answer at the same time
_VERSION_S = 3.0  # to wait for the release, which decides on the names


class ReturnParameters:
    """Return and speeds of one vehicle. For one thread.

    Attributes:
        returns: `None` until each parameter has been answered, or has not been in spite of
            repeated requests.
        speeds: of a mission.
        agility: of the vehicle on its rotors.
        circles: of a mission.
    """

    def __init__(self) -> None:
        self.returns: ReturnPlan | None = None
        self.speeds = Speeds()
        self.agility = Agility()
        self.circles = UNKNOWN_CIRCLES
        self._seen: object = None  # firmware, type, run and release
        self._rows: dict[str, list[ReturnParameter]] = {}  # of each quantity, newest first
        self._again: list[str] = []  # names that are to be read again
        self._again_s = math.inf
        self._rounds = 0
        self._used: Read | None = None

    def step(
        self, parameters: Parameters, autopilot: Autopilot, now_s: float, *, on_wing: bool | None
    ) -> None:
        """Request the parameters that are due, and use what has come.

        Args:
            parameters: of the followed vehicle; it sends the requests.
            autopilot: that is followed.
            now_s: time of the caller.
            on_wing: whether a wing carries the vehicle now.
        """
        since_s = autopilot.online_since_s(now_s)
        if since_s is None or (autopilot.release is None and now_s - since_s < _VERSION_S):
            return
        firmware = firmware_of(autopilot.kind, autopilot.vehicle_type)
        self._look_at(autopilot, firmware, now_s)
        if firmware is None or firmware not in PLANS:
            return
        read = self._read(parameters, autopilot.vehicle_type, on_wing=on_wing)
        self._request(parameters, read.unread, now_s)
        if not read.unread and read != self._used:
            self._used = read
            self.returns, self.speeds = PLANS[firmware](read)
            self.agility = agility_of(read, eases=firmware == PX4)
            self.circles = circles_of(read)

    def _look_at(self, autopilot: Autopilot, firmware: str | None, now_s: float) -> None:
        """Begin again with another vehicle or release, and after a restart."""
        release = autopilot.release
        seen = firmware, autopilot.vehicle_type, autopilot.runs, release
        if seen == self._seen:
            return
        self._seen = seen
        self._used = None
        self.returns = None
        self.speeds = Speeds()
        self.agility = Agility()
        self.circles = UNKNOWN_CIRCLES
        self._rows = {}
        self._again = []
        self._again_s = now_s + _AGAIN_S
        for row in RETURN_PARAMETERS:
            fits = release is None or row.since <= release < row.before
            if row.firmware == firmware and fits:
                self._rows.setdefault(row.quantity, []).append(row)

    def _read(
        self, parameters: Parameters, vehicle_type: int | None, *, on_wing: bool | None
    ) -> Read:
        pending = parameters.pending()
        absent = parameters.requested() - pending
        values = {
            "rover": float(vehicle_type in ROVER_TYPES),
            "flies": float(vehicle_type not in ROVER_TYPES),
            "rotors": float(vehicle_type not in (FIXED_WING_TYPE, *ROVER_TYPES)),
            "wing": float(vehicle_type in (FIXED_WING_TYPE, *VTOL_TYPES)),
        }
        missing = []
        unread = []
        for quantity, rows in self._rows.items():
            if rows[0].only and not values.get(rows[0].only):
                continue
            known = next((row for row in rows if row.name in parameters.values), None)
            untried = [row.name for row in rows if row.name not in absent]
            value = None if known is None else known.si(parameters.values[known.name])
            if value is not None:
                values[quantity] = value
            elif known is None and untried:
                unread.append(untried[0])
            elif not rows[0].optional:
                missing.append((known or rows[0]).name)
        return Read(values, tuple(missing), on_wing, tuple(unread))

    def _request(self, parameters: Parameters, unread: Sequence[str], now_s: float) -> None:
        names = [row.name for rows in self._rows.values() for row in rows]
        if now_s >= self._again_s:
            self._again_s = now_s + _AGAIN_S
            self._rounds += 1
            known = {*parameters.values}
            if self._rounds % _ABSENT_ROUNDS == 0:
                known |= parameters.requested()
            self._again = [name for name in names if name in known]
        pending = parameters.pending()
        free = max(_WINDOW - len(pending.intersection(names)), 0)
        queue = [name for name in (*unread, *self._again) if name not in pending][:free]
        self._again = [name for name in self._again if name not in queue]
        parameters.refresh(*queue)
