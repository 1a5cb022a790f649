# SPDX-License-Identifier: Apache-2.0
"""Reference cells for the fit and its validation: PyBaMM's Doyle-Fuller-Newman model.

Amps (positive while discharging), watts, seconds, degrees Celsius. Charge is the fraction 0 to 1 between
the open-circuit voltages that the parameter set defines as empty and full. Needs the extra `validate`.

Source: PyBaMM (Sulzer et al. 2021, J. Open Res. Software 9:14) and its parameter sets, named in
`SETS`. Heat includes the heat of mixing; without it a cell that warms itself loses energy.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

ZERO_DEGC_K, REFERENCE_K = 273.15, 298.15
_EDGE_S = 0.1  # duration of a step of the load: the solver needs a continuous function
_ROUNDING_S = 1e-6
_RESAMPLED = 200  # knots
_KNOT_S, _AGREE_K, _MOST_ROUNDS = 5, 0.2, 4

_ABOVE_FULL_V = 0.5  # how far a charging pulse may rise above full


# The LiFePO4 set has no thermal part: an A123 26650 of 76 g with 1100 J/(kg K).
_BY_HAND = {
    "Cell volume [m3]": 3.42e-5,
    "Cell cooling surface area [m2]": 6.4e-3,
    "Negative current collector thickness [m]": 1.0e-5,
    "Positive current collector thickness [m]": 1.5e-5,
    "Negative current collector conductivity [S.m-1]": 5.8e7,
    "Positive current collector conductivity [S.m-1]": 3.7e7,
    **{
        f"{part} {what}": value
        for part in (
            "Negative electrode", "Positive electrode", "Separator",
            "Negative current collector", "Positive current collector",
        )
        for what, value in (
            ("density [kg.m-3]", 2220.0), ("specific heat capacity [J.kg-1.K-1]", 1100.0), ("thermal conductivity [W.m-1.K-1]", 1.0),
        )
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """A published parameter set that stands for a chemistry."""

    chemistry: str
    name: str  # in PyBaMM
    cut_v: float  # where the set ends
    added: Mapping[str, float]  # parameters that the set lacks
    source: str


# fmt: off
SETS = (
    ReferenceSet("lipo",    "Ai2020",    3.0, {},       "PyBaMM's Ai2020: Enertech LiCoO2 pouch, 2.28 Ah; Ai et al. 2020, J. Electrochem. Soc. 167 013512"),
    ReferenceSet("li-ion",  "OKane2022", 2.5, {},       "PyBaMM's OKane2022: LG M50 21700, 5 Ah, NMC811 against graphite-SiOx; Chen et al. 2020, J. Electrochem. Soc. 167 080534; O'Kane et al. 2022, Phys. Chem. Chem. Phys. 24 7909"),
    ReferenceSet("lifepo4", "Prada2013", 2.0, _BY_HAND, "PyBaMM's Prada2013: A123 26650, 2.3 Ah, LiFePO4; Prada et al. 2013, J. Electrochem. Soc. 160 A616, with parts of other sets; heat capacity by hand"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Load:
    """Current or power at the terminals of one cell, straight lines between its knots."""

    name: str
    t_s: FloatArray
    value: FloatArray
    is_power: bool
    is_smooth: bool = False  # without steps that the solver must not stride over


@dataclass(frozen=True, slots=True)
class Trace:
    """Voltage, current, temperature and charge of a cell, one sample a second."""

    name: str
    t_s: FloatArray
    voltage_v: FloatArray
    current_a: FloatArray
    temperature_degc: FloatArray
    charge_frac: FloatArray


def stepped(name: str, steps: list[tuple[float, float]], *, is_power: bool = False) -> Load:
    """Return a load of (seconds, amps or watts) steps."""
    t_s, value = [0.0], [steps[0][1]]
    for duration_s, level in steps:
        t_s += [t_s[-1] + _EDGE_S, t_s[-1] + duration_s]
        value += [level, level]
    return Load(name, np.array(t_s), np.array(value), is_power)


class ReferenceCell:
    """One parameter set as a model to run.

    Attributes:
        capacity_ah: between full and empty.
        heat_capacity_j_k: of the whole cell.
    """

    def __init__(self, row: ReferenceSet) -> None:
        self.row = row
        self._pybamm: Any = importlib.import_module("pybamm")
        self._pybamm.set_logging_level("ERROR")
        values, parameters = self._values(), self._pybamm.LithiumIonParameters()
        evaluate = values.evaluate
        solver = self._pybamm.lithium_ion.ElectrodeSOHSolver(values, parameters)
        self._health = solver.solve(
            {
                "Q_Li": evaluate(parameters.Q_Li_particles_init),
                "Q_n": evaluate(parameters.n.Q_init),
                "Q_p": evaluate(parameters.p.Q_init),
            }
        )
        self.capacity_ah = float(self._health["Q"])
        thermal = self._pybamm.lithium_ion.DFN({"thermal": "lumped"}).param
        reference = self._pybamm.Scalar(REFERENCE_K)
        self.heat_capacity_j_k = float(evaluate(thermal.rho_c_p_eff(reference))) * float(
            values["Cell volume [m3]"]
        )

    def _values(self) -> Any:  # noqa: ANN401 - a class of PyBaMM, which need not be installed
        values = self._pybamm.ParameterValues(self.row.name)
        values.update(self.row.added, check_already_exists=False)
        values["Upper voltage cut-off [V]"] += _ABOVE_FULL_V
        return values

    def _resample(self, values: Any) -> None:  # noqa: ANN401 - a class of PyBaMM, as above
        """Replace cubic tables of resting voltage, because the heat of mixing needs a derivative that they lack."""
        pybamm, lithium = self._pybamm, np.linspace(0.001, 0.999, _RESAMPLED)
        for side in ("Negative", "Positive"):
            key = f"{side} electrode OCP [V]"
            curve = values[key]
            if isinstance(curve(pybamm.Variable("lithium")), pybamm.Interpolant):
                each = [values.evaluate(curve(pybamm.Scalar(float(x)))) for x in lithium]
                volts = np.array([np.asarray(one).item() for one in each])
                values[key] = partial(pybamm.Interpolant, lithium, volts, interpolator="pchip")

    def open_circuit(self, charge_frac: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the open-circuit voltage at 25 degC in V and its entropic coefficient in V/K."""
        values, scalar = self._values(), self._pybamm.Scalar
        parameters, health = self._pybamm.LithiumIonParameters(), self._health
        lithium = {
            "n": health["x_0"] + charge_frac * (health["x_100"] - health["x_0"]),
            "p": health["y_0"] - charge_frac * (health["y_0"] - health["y_100"]),
        }

        def sampled(side: str, what: str) -> FloatArray:
            material = getattr(parameters, side).prim
            warm = (scalar(REFERENCE_K),) if what == "U" else ()
            each = [getattr(material, what)(scalar(float(x)), *warm) for x in lithium[side]]
            return np.array([np.asarray(values.evaluate(one)).item() for one in each])

        return (
            sampled("p", "U") - sampled("n", "U"),
            sampled("p", "dUdT") - sampled("n", "dUdT"),
        )

    def rated_w(self) -> float:
        """Return the power in W that empties a cell without losses in one hour."""
        return self.capacity_ah * float(self.open_circuit(np.array([0.5]))[0][0])

    def run(self, load: Load, degc: float, *, start_frac: float = 1.0) -> Trace:
        """Return the response to a load at a constant temperature, until the cell is empty."""
        return self._solve(load, start_frac, {"Ambient temperature [K]": degc + ZERO_DEGC_K})

    def run_warming(
        self,
        load: Load,
        degc: float,
        *,
        start_frac: float,
        cooling_s: float,
        guess: tuple[FloatArray, FloatArray],
    ) -> Trace:
        """Return the response to a load of a cell that its losses warm.

        Fixed-point iteration: the model is solved for a given temperature curve; the heat by
        energy conservation (overpotential and entropy) gives the next curve, until both agree.
        Minutes faster than `run_own_heat`. `guess` is the first curve, seconds and degrees Celsius.
        """
        trace = self._solve(load, start_frac, self._around(*guess))
        degrees = self._heated(trace, degc, cooling_s)
        for _ in range(_MOST_ROUNDS):
            if np.max(np.abs(degrees - trace.temperature_degc)) < _AGREE_K:
                break
            seconds = np.append(trace.t_s[:-1:_KNOT_S], load.t_s[-1])
            knots_degc = np.append(degrees[:-1:_KNOT_S], degrees[-1])
            trace = self._solve(load, start_frac, self._around(seconds, knots_degc))
            degrees = self._heated(trace, degc, cooling_s)
        return replace(trace, temperature_degc=degrees)

    def _around(self, seconds: FloatArray, degrees: FloatArray) -> Mapping[str, Any]:
        kelvin = self._pybamm.Interpolant(seconds, degrees + ZERO_DEGC_K, self._pybamm.t)
        return {"Ambient temperature [K]": kelvin}

    def _heated(self, trace: Trace, degc: float, cooling_s: float) -> FloatArray:
        """Return the temperature curve that follows from the losses of a trace."""
        grid_frac = np.linspace(0.0, 1.0, 401)
        rest_v, entropy_v_k = self.open_circuit(grid_frac)
        turned_v = np.interp(trace.charge_frac, grid_frac, entropy_v_k) * REFERENCE_K
        lost_v = np.interp(trace.charge_frac, grid_frac, rest_v) - turned_v - trace.voltage_v
        rise_k = trace.current_a * lost_v * cooling_s / self.heat_capacity_j_k
        decay, degrees = np.exp(-1.0 / cooling_s), np.full_like(rise_k, degc)
        for index in range(1, len(degrees)):
            above_k = degrees[index - 1] - degc
            degrees[index] = degc + rise_k[index] + (above_k - rise_k[index]) * decay
        return degrees

    def run_own_heat(
        self, load: Load, degc: float, *, start_frac: float, cooling_s: float
    ) -> Trace:
        """Return the response with the losses and the heat that PyBaMM computes; takes minutes."""
        around_k = degc + ZERO_DEGC_K
        surface_m2 = float(self._values()["Cell cooling surface area [m2]"])
        update = {
            "Ambient temperature [K]": around_k,
            "Initial temperature [K]": around_k,
            "Total heat transfer coefficient [W.m-2.K-1]": self.heat_capacity_j_k
            / (surface_m2 * cooling_s),
        }
        return self._solve(
            load, start_frac, update, {"thermal": "lumped", "heat of mixing": "true"}
        )

    def _solve(
        self,
        load: Load,
        start_frac: float,
        update: Mapping[str, Any],
        options: Mapping[str, str] = MappingProxyType({}),
    ) -> Trace:
        values = self._values()
        if options:
            self._resample(values)
        mode, key = "current", "Current function [A]"
        if load.is_power:
            mode, key = "power", "Power function [W]"
        drive = self._pybamm.Interpolant(load.t_s, load.value, self._pybamm.t)
        values = self._pybamm.lithium_ion.set_initial_state(start_frac, values)
        values.update({key: drive, **update}, check_already_exists=False)
        simulation = self._pybamm.Simulation(
            self._pybamm.lithium_ion.DFN({"operating mode": mode, **options}),
            parameter_values=values,
            solver=self._pybamm.IDAKLUSolver(rtol=1e-5, atol=1e-6),
        )
        seconds = np.arange(0.0, load.t_s[-1], 1.0)
        stops = load.t_s[[0, -1]] if load.is_smooth else load.t_s
        solved = simulation.solve(stops, t_interp=seconds)
        whole = (
            np.abs(solved.t - np.round(solved.t)) < _ROUNDING_S
        )  # the solver also stops at the knots
        named = ("Voltage [V]", "Current [A]", "Volume-averaged cell temperature [C]")
        voltage_v, current_a, degrees = (solved[name].entries[whole] for name in named)
        drawn_ah = solved["Discharge capacity [A.h]"].entries[whole]
        charge_frac = start_frac - drawn_ah / self.capacity_ah
        return Trace(load.name, solved.t[whole], voltage_v, current_a, degrees, charge_frac)
