# SPDX-License-Identifier: Apache-2.0
"""The packs that a service reads: gauges, DroneCAN packs, packages, monitors of the vehicle."""
