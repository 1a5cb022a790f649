# SPDX-License-Identifier: Apache-2.0
"""The pack of an earlier run, which is awaited after a restart until its identity shows it."""

from dataclasses import dataclass

from dronebms.core.pack_identity import difference
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pack_recognition import MOST_GAP_S, PackRecognition
from dronebms.monitoring.restart_state import PipelineState
from smartbattery.snapshot import Snapshot
from smartbattery.values import changed

_IDENTITY_S = 3.0  # in which a gauge reports it, and the pack of an earlier run answers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a snapshot shows of the awaited pack, which is awaited further without either."""

    snapshot: Snapshot  # to evaluate
    state: PipelineState | None = None  # to continue from: it is this pack
    refused: str | None = None  # why no state is restored


class AwaitedPack:
    """The pack of an earlier run.

    Attributes:
        state: of that run.
    """

    def __init__(self, state: PipelineState) -> None:
        self.state = state
        self._answers_s: float | None = None  # since when a pack answers

    def outcome(self, snapshot: Snapshot, vehicle: VehicleState) -> Outcome:
        """Compare a snapshot with the pack: its identity and its charge."""
        recognition = self.state.recognition
        if not 0.0 <= snapshot.t_s - self.state.pack.t_s <= MOST_GAP_S:
            return Outcome(snapshot, refused="too late")
        if snapshot.voltage_v is None:
            return Outcome(snapshot)
        waiting = self._waiting(snapshot, vehicle)
        if waiting is not None:
            return Outcome(waiting)
        if not PackRecognition(recognition).continues(snapshot, self.state.pack.pack_data):
            return Outcome(snapshot, refused="another pack, or another charge")
        known = recognition.identity
        read = snapshot.identity
        return Outcome(snapshot, self.state.sharing(read if read == known else known))

    def _waiting(self, snapshot: Snapshot, vehicle: VehicleState) -> Snapshot | None:
        """Snapshot to evaluate while the stored pack may still answer, else `None`."""
        stored = self.state.recognition
        now_s = snapshot.t_s
        if self._answers_s is None:
            self._answers_s = now_s
        early = now_s - self._answers_s <= _IDENTITY_S
        if early and stored.identity.serial is not None and snapshot.identity.serial is None:
            return Snapshot(now_s, trouble="waiting for the identity of the pack")
        differs = difference(stored.identity, snapshot.identity)
        if differs is None or stored.changeable or vehicle.armed is False:
            return None
        if not early:  # another pack answers for long: it is used until the stored one returns
            return snapshot
        unknown = snapshot.unknown(now_s, f"another pack answers: {differs}")
        return changed(unknown, identity=stored.identity, other_pack=differs)
