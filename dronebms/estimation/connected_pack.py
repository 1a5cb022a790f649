# SPDX-License-Identifier: Apache-2.0
"""What is known of a pack at its first reading: rated, assumed, and learned in earlier flights."""

from dataclasses import dataclass, replace

from dronebms.core.chemistry import LIHV, LIPO, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.gauge_fusion import MAX_UNRATED_MAH
from dronebms.estimation.learning.interval_adaptation import Adaptation, mean_adaptation
from dronebms.estimation.learning.learned_pack import (
    NOTHING_KNOWN,
    Keys,
    Known,
    LearnedPack,
    Recall,
)
from dronebms.estimation.learning.sister_packs import MAX_SISTERS, sister_prior
from dronebms.estimation.learning.usual_power import UsualPower, newest_motion, usual_power
from dronebms.estimation.model_parameters import ModelParameters
from dronebms.estimation.motion.motion_power import LearnedMotion
from smartbattery.registers import DESIGN
from smartbattery.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ConnectedPack:
    """Facts of a pack that are fixed at its first reading; its vehicle may be known later."""

    keys: Keys  # under which it is remembered
    cells: int  # in series
    rated_mah: float | None
    assumed_mah: float | None  # where none is rated: of earlier flights, or as the gauge reports
    has_gauge_charge: bool  # the gauge reported a state of charge
    learned: LearnedPack | None  # from earlier flights
    adaptation: Adaptation  # of the interval
    sister_odds: float | None  # log odds of the gauge's kind by sister packs; None without them
    usual: UsualPower | None  # of the vehicle's earlier flights, while that is unknown the pack's
    motion: LearnedMotion | None  # power by motion of the vehicle's earlier flights
    full_seen_v: float | None = None  # `PackData.full_seen_v`


def connected_pack(
    snapshot: Snapshot,
    cells: int,
    vehicle: VehicleState,
    pack_data: PackData,
    recall: Recall,
    parameters: ModelParameters,
) -> tuple[ConnectedPack, CellParameters | None]:
    """The pack of a first reading, and the prior of its cells; None without earlier flights.

    Args:
        snapshot: the reading.
        cells: in series.
        vehicle: of the pack, as far as it is known.
        pack_data: as configured.
        recall: what earlier flights have taught.
        parameters: prior of the models.
    """
    pack_data = pack_data.seen(snapshot)
    identity = snapshot.identity
    rated_mah = _first_capacity(pack_data.capacity_mah, identity.design_mah)
    keys = Keys(
        pack=pack_data.pack_key(identity),
        model=pack_data.model_key(identity),
        vehicle=pack_data.vehicle or vehicle.uid,
    )
    known = NOTHING_KNOWN if keys == Keys() else recall(keys)
    learned = known.pack
    if learned is not None and (pack_data.chemistry, learned.chemistry) == (LIPO, LIHV.name):
        pack_data = replace(pack_data, full_seen_v=LIHV.full_cell_v)  # of an earlier flight
    curve = pack_data.curve
    if learned is not None:  # another pack may have the same key
        fits = learned.fits(rated_mah, curve.name)
        learned = learned.relative_to(curve) if fits else None
    assumed_mah = _assumed_mah(learned, known, snapshot)
    sisters = () if learned is not None else _sisters(known, rated_mah or assumed_mah, curve)
    flights = known.vehicle
    if keys.vehicle is None and learned is not None:
        flights = learned.power
    adaptation = (
        mean_adaptation([sister.adaptation for sister in sisters])
        if learned is None
        else learned.adaptation
    )
    pack = ConnectedPack(
        keys=keys,
        cells=cells,
        rated_mah=rated_mah,
        assumed_mah=assumed_mah,
        has_gauge_charge=snapshot.soc_pct is not None,
        learned=learned,
        adaptation=adaptation,
        sister_odds=_sister_odds(sisters, parameters),
        usual=usual_power(flights, parameters),
        motion=newest_motion(flights),
        full_seen_v=pack_data.full_seen_v,
    )
    if sisters:
        return pack, sister_prior([sister.cells for sister in sisters], parameters)
    return pack, None if learned is None else learned.cells


def _first_capacity(*sources_mah: float | None) -> float | None:
    """The first that a pack can have."""
    return next((mah for mah in sources_mah if mah and mah >= DESIGN.low), None)


def _assumed_mah(learned: LearnedPack | None, known: Known, snapshot: Snapshot) -> float | None:
    """Capacity where none is rated: of earlier flights, or as the gauge reports."""
    return _first_capacity(
        None if learned is None else learned.rated_mah,
        None if not known.sisters else known.sisters[0].rated_mah,
        None if (snapshot.full_mah or 0.0) > MAX_UNRATED_MAH else snapshot.full_mah,
    )


def _sisters(known: Known, rated_mah: float | None, curve: Chemistry) -> tuple[LearnedPack, ...]:
    """The newest sister packs that can be of the same model."""
    found = [each for each in known.sisters if each.fits(rated_mah, curve.name)]
    return tuple([sister.relative_to(curve) for sister in found[:MAX_SISTERS]])


def _sister_odds(sisters: tuple[LearnedPack, ...], parameters: ModelParameters) -> float | None:
    """Log odds of the gauge's kind by sister packs, None without them."""
    if not sisters:
        return None
    odds = [sister.gauge_odds for sister in sisters]
    return parameters.sister_odds * sum(odds) / len(odds)
