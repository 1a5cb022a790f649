# SPDX-License-Identifier: Apache-2.0
"""Estimates state of charge, time to empty and available current of a pack from its snapshots."""

from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import LearnedPack
from dronebms.estimation.learning.pack_memory import PackMemoryFolder

__all__ = ["Estimator", "LearnedPack", "PackMemoryFolder"]
