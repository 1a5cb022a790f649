# SPDX-License-Identifier: Apache-2.0
"""Measures the speed of the simulated packs: `python benchmarks/packs.py`.

The unit is one cell advanced by one step of 0.1 s under a power; figures are millions of these per second
of one core, and simulated seconds per real second of a single 6S pack. progpy and PyBaMM are measured
too when they are installed (extra `validate`; `pip install progpy`).
"""

import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable

import numpy as np

from sim.plant.pack import build_packs
from sim.plant.pack_spec import PackSpec

STEP_S = 0.1
CELLS = 6
ROUNDS = 3
PEER_S = 600.0  # simulated


def least_s(work: Callable[[], object]) -> float:
    """Return the shortest processor time of some rounds: the least disturbed by other processes."""
    spent = []
    for _ in range(ROUNDS):
        start_s = time.process_time()
        work()
        spent.append(time.process_time() - start_s)
    return min(spent)


def ours(packs: int, steps: int) -> float:
    """Return seconds for steps of a fleet."""
    spec = PackSpec(chemistry="lipo", cells=CELLS, cell_mah=16000.0, resistance_mohm_ah=35.0)
    fleet = build_packs(spec, [np.random.default_rng(seed) for seed in range(packs)], STEP_S)
    powers_w = np.random.default_rng(0).uniform(200.0, 900.0, packs)

    def fly() -> None:
        for _ in range(steps):
            fleet.apply(powers_w)
            fleet.advance()

    return least_s(fly)


def with_progpy(model_name: str) -> float:
    """Return seconds for a cell of progpy, `PEER_S` in steps of `STEP_S`."""
    models = importlib.import_module("progpy.models")
    model = getattr(models, model_name)()
    load = model.InputContainer({"i": 2.0})
    return least_s(lambda: model.simulate_to(PEER_S, lambda *_: load, dt=STEP_S, save_freq=PEER_S))


def with_pybamm(model_name: str) -> float:
    """Return seconds for a cell of PyBaMM, `PEER_S` with a value each `STEP_S`."""
    pybamm = importlib.import_module("pybamm")
    pybamm.set_logging_level("ERROR")
    if model_name == "Thevenin":
        model = pybamm.equivalent_circuit.Thevenin()
        values = model.default_parameter_values
    else:
        model = getattr(pybamm.lithium_ion, model_name)({"operating mode": "power"})
        values = pybamm.ParameterValues("Ai2020")
        values.update({"Power function [W]": 8.0}, check_already_exists=False)
    simulation = pybamm.Simulation(model, parameter_values=values, solver=pybamm.IDAKLUSolver())
    seconds = np.arange(0.0, PEER_S, STEP_S)

    def solve() -> None:
        simulation.solve([0.0, PEER_S], t_interp=seconds)

    solve()  # builds the model, outside the measurement
    return least_s(solve)


def main() -> None:
    """Measure and print."""
    print("| what | cells x steps per second, millions | one cell's seconds per second |")
    print("|---|---|---|")
    for packs, steps in ((1, 6000), (10, 3000), (100, 1000), (1000, 200), (10_000, 30)):
        rate = packs * CELLS * steps / ours(packs, steps)
        print(
            f"| ours, {packs} packs of {CELLS} cells | {rate / 1e6:.3f} | {rate * STEP_S:.0f} |",
            flush=True,
        )
    peers = {
        "progpy": (with_progpy, ("BatteryCircuit", "BatteryElectroChemEOD")),
        "pybamm": (with_pybamm, ("Thevenin", "SPMe", "DFN")),
    }
    for package, (measure, models) in peers.items():
        if importlib.util.find_spec(package) is None:
            print(f"| {package} | not installed, skipped | |")
            continue
        for model in models:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rate = PEER_S / STEP_S / measure(model)
            print(
                f"| {package} {model}, one cell | {rate / 1e6:.3f} | {rate * STEP_S:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
