# SPDX-License-Identifier: Apache-2.0
"""What was learned as JSON: the content of the files of `pack_memory`, and of a recording's record.

Numbers return exact to the last bit; content of no pack, model or vehicle raises one of MALFORMED.
"""

import math
from typing import Any

import numpy as np

from dronebms.estimation.cell.cell_model import FAST, KNOTS
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.learning.interval_adaptation import NOT_ADAPTED, Adaptation
from dronebms.estimation.learning.learned_pack import (
    MAX_FLIGHT_IDS,
    Keys,
    Known,
    LearnedPack,
    Recalled,
)
from dronebms.estimation.learning.sister_packs import MAX_SISTERS
from dronebms.estimation.learning.usual_power import MAX_FLIGHTS, FlightPower
from dronebms.estimation.model_parameters import KNOTS_FRAC
from dronebms.estimation.motion.motion_power import ROTOR_TERMS, WING_TERMS, LearnedMotion, Terms

MALFORMED = ValueError, KeyError, TypeError, OverflowError  # raised by malformed content
MAX_PACKS = 20  # newest, in the file of a model
INDEX_FORMAT = 1  # of models and vehicles
STATE_SIZE = KNOTS - FAST + len(KNOTS_FRAC)  # of a cell's parameters
_FORMAT = 2  # written
_FORMATS = (1, 2)  # read
_ROUNDING = 1e-9  # of an eigenvalue
_MAX_NUMBER = 1e9  # in such a file
_MAX_LN = 10.0  # of a parameter of a cell, in ln or volts
_MAX_ODDS = 500.0  # its exponential is finite
_MAX_TEXT = 500  # characters of a name
_MAX_POINTS = 100  # temperatures of flights
_OLD_FLIGHT_S = 600.0  # weight of the mean power in a file of format 1


def learned_to_json(learned: LearnedPack) -> dict[str, Any]:
    """The content of a pack's file."""
    return {
        "format": _FORMAT,
        "model": learned.model,
        "chemistry": learned.chemistry,
        "vehicle": learned.vehicle,
        "gauge_odds": learned.gauge_odds,
        "first_fast": learned.first_fast,
        "rated_mah": learned.rated_mah,
        "flights": learned.flights,
        "taught": learned.flight_ids,
        "power": _power_to_json(learned.power),
        "mean": learned.cells.mean,
        "covariance": learned.cells.covariance,
        "curve_v": learned.curve_v,
        "warm": learned.cells.warm,
        "sister_warm": learned.cells.sister_warm,
        "interval": learned.adaptation,
        "loss": learned.cells.loss,
        "growth": learned.cells.growth,
    }


def learned_from_json(content: Any) -> LearnedPack:  # noqa: ANN401 - from JSON, of any form
    """The inverse of `learned_to_json`, exact to the last bit; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") not in _FORMATS:
        raise ValueError(f"its format is not {_FORMAT}")
    mean = np.array(content["mean"], float)
    covariance = np.array(content["covariance"], float)
    if mean.shape != (STATE_SIZE,) or covariance.shape != (STATE_SIZE, STATE_SIZE):
        raise ValueError("its state has another size")
    names = "gauge_odds", "first_fast", "rated_mah", "flights"
    odds, first_fast, rated_mah, flights = (_number(content[name]) for name in names)
    loss = _number(content.get("loss", 0.0))
    growth = _number(content.get("growth", 0.0))
    _check([*mean, *covariance.ravel()])
    if (
        max(abs(mean).max(), abs(first_fast), abs(loss), abs(growth)) > _MAX_LN
        or abs(covariance).max() > _MAX_LN**2
    ):
        raise ValueError("a number in it is not of a cell")
    if abs(odds) > _MAX_ODDS or flights < 0.0 or rated_mah <= 0.0:
        raise ValueError("a number in it is out of range")
    if np.linalg.eigvalsh((covariance + covariance.T) / 2)[0] < -_ROUNDING:
        raise ValueError("its covariance is not positive semidefinite")
    curve_v = np.array(content.get("curve_v", ()), float)
    _check(curve_v)
    if curve_v.shape not in ((0,), (len(KNOTS_FRAC),)) or abs(curve_v).max(initial=0.0) > _MAX_LN:
        raise ValueError("its curve is not one of a cell")
    cells = CellParameters(
        mean=tuple(mean.tolist()),
        covariance=tuple(map(tuple, covariance.tolist())),
        warm=_points(content.get("warm", ())),
        sister_warm=_points(content.get("sister_warm", ())),
        loss=loss,
        growth=growth,
    )
    rows = content["power"] if content["format"] != 1 else _old_power(content["usual_w"])
    return LearnedPack(
        cells=cells,
        gauge_odds=odds,
        first_fast=first_fast,
        rated_mah=rated_mah,
        flights=int(flights),
        flight_ids=tuple(map(str, content.get("taught", ())))[-MAX_FLIGHT_IDS:],
        power=_power_from_json(rows),
        model=name_from_json(content.get("model")),
        chemistry=name_from_json(content.get("chemistry")),
        vehicle=name_from_json(content.get("vehicle")),
        adaptation=_adaptation(content.get("interval", NOT_ADAPTED)),
        curve_v=tuple(curve_v.tolist()),
    )


def _adaptation(row: Any) -> Adaptation:  # noqa: ANN401 - from JSON, of any form
    below, above = map(_number, row)
    return Adaptation(below, above).within_range()


def _old_power(usual_w: Any) -> list[tuple[str, Any, float]]:  # noqa: ANN401 - of any form
    """Mean power of the flights in a file of format 1, as one flight."""
    return [] if usual_w is None else [("", usual_w, _OLD_FLIGHT_S)]


def vehicle_to_json(flights: tuple[FlightPower, ...]) -> dict[str, Any]:
    """The content of a vehicle's file."""
    return {"format": INDEX_FORMAT, "power": _power_to_json(flights)}


def vehicle_from_json(content: Any) -> tuple[FlightPower, ...]:  # noqa: ANN401 - of any form
    """The inverse of `vehicle_to_json`; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") != INDEX_FORMAT:
        raise ValueError(f"its format is not {INDEX_FORMAT}")
    return _power_from_json(content["power"])


def recalled_to_json(recalled: Recalled) -> dict[str, Any]:
    """What a run recalled, as a recording has it."""
    keys = recalled.keys
    known = recalled.known
    return {
        "pack": keys.pack,
        "model": keys.model,
        "vehicle": keys.vehicle,
        "learned": known.pack and learned_to_json(known.pack),
        "sisters": [learned_to_json(sister) for sister in known.sisters],
        "power": _power_to_json(known.vehicle),
    }


def recalled_from_json(row: Any) -> Recalled:  # noqa: ANN401 - from JSON, of any form
    """The inverse of `recalled_to_json`, or of the older pair of a key and a pack.

    Raises one of MALFORMED.
    """
    if isinstance(row, list):
        pack, learned = row
        return Recalled(
            Keys(str(pack)), Known(None if learned is None else learned_from_json(learned))
        )
    keys = Keys(*(name_from_json(row[key]) for key in ("pack", "model", "vehicle")))
    learned = row["learned"]
    known = Known(
        None if learned is None else learned_from_json(learned),
        tuple(map(learned_from_json, row["sisters"]))[:MAX_SISTERS],
        _power_from_json(row["power"]),
    )
    return Recalled(keys, known)


def packs_from_json(content: Any) -> list[str]:  # noqa: ANN401 - from JSON, of any form
    """Names of the packs in a model's file; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") != INDEX_FORMAT:
        raise ValueError(f"its format is not {INDEX_FORMAT}")
    names = [name_from_json(row) for row in content["packs"][-MAX_PACKS:]]
    return [name for name in names if name is not None]


def _power_to_json(flights: tuple[FlightPower, ...]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for flight in flights:
        row: list[Any] = [flight.flight_id, flight.mean_w, flight.span_s]
        if flight.motion is not None:
            row.append({"rotor": flight.motion.rotor, "wing": flight.motion.wing})
        rows.append(row)
    return rows


def _power_from_json(rows: Any) -> tuple[FlightPower, ...]:  # noqa: ANN401 - of any form
    flights = []
    for name, watts, span_s, *more in rows:
        motion = _motion_from_json(*more) if more else None
        flights.append(FlightPower(str(name), _number(watts), _number(span_s), motion))
    if any(flight.mean_w < 0.0 or flight.span_s < 0.0 for flight in flights):
        raise ValueError("a power or a time in it is negative")
    return tuple(flights[-MAX_FLIGHTS:])


def _motion_from_json(row: Any) -> LearnedMotion:  # noqa: ANN401 - of any form
    return LearnedMotion(_terms(row["rotor"], ROTOR_TERMS), _terms(row["wing"], WING_TERMS))


def _terms(pair: Any, count: int) -> Terms | None:  # noqa: ANN401 - of any form
    if pair is None:
        return None
    terms_w, variances = (tuple(map(_number, part)) for part in pair)
    if not len(terms_w) == len(variances) == count or terms_w[0] <= 0.0 or min(variances) < 0.0:
        raise ValueError("a power by motion in it is not valid")
    return terms_w, variances


def _points(rows: Any) -> tuple[tuple[float, float], ...]:  # noqa: ANN401 - of any form
    points = np.array(rows, float).reshape(-1, 2)
    _check(points.ravel())
    if abs(points).max(initial=0.0) > _MAX_LN:
        raise ValueError("a temperature in it is not of a cell")
    if len(points) > _MAX_POINTS:
        raise ValueError(f"it has more than {_MAX_POINTS} temperatures")
    return tuple([(float(inverse_kk), float(log)) for inverse_kk, log in points])


def _check(numbers: Any) -> None:  # noqa: ANN401 - any sequence
    if not all(math.isfinite(number) and abs(number) < _MAX_NUMBER for number in numbers):
        raise ValueError("a number in it is not valid")


def _number(value: Any) -> float:  # noqa: ANN401 - from JSON, of any form
    number = float(value)
    _check([number])
    return number


def name_from_json(value: Any) -> str | None:  # noqa: ANN401 - from JSON, of any form
    """A name of a pack, a model or a vehicle, None where there is none; raises ValueError."""
    if value is not None and not (isinstance(value, str) and len(value) <= _MAX_TEXT):
        raise ValueError("a name in it is not valid")
    return value
