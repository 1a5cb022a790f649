# SPDX-License-Identifier: Apache-2.0
"""The configuration file: its schema, and what of it excludes each other."""

from dronebms.service.config.service_config import Config, read_config

__all__ = ["Config", "read_config"]
