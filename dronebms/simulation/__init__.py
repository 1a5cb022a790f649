# SPDX-License-Identifier: Apache-2.0
"""Simulated flights: one, many seeds (`campaign`), or behind a simulated vehicle (`sitl`)."""

from dronebms.simulation.simulated_flight import SimOptions, Simulation

__all__ = ["SimOptions", "Simulation"]
