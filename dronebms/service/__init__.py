# SPDX-License-Identifier: Apache-2.0
"""The service on a vehicle: configuration, adapters, checkpoint, log; `service.serve` runs it."""

from dronebms.service.config import Config, read_config

__all__ = ["Config", "read_config"]
