"""Estimates state of charge, time to empty and available current of a pack from its snapshots."""

from dronebms.estimation.estimator import Estimator, EstimatorState
from dronebms.estimation.pack_memory import (
    BackgroundPackMemory,
    LearnedPack,
    PackMemory,
    PackMemoryFolder,
    ReplayedMemory,
)

__all__ = [
    "BackgroundPackMemory",
    "Estimator",
    "EstimatorState",
    "LearnedPack",
    "PackMemory",
    "PackMemoryFolder",
    "ReplayedMemory",
]
