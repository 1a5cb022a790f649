# SPDX-License-Identifier: Apache-2.0
"""MAVLink: links, frames, messages and the differences of the flight stacks."""

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.codec import Codec, read_key
from mavlink_bridge.protocol.link import Link, open_link, parse_url
from mavlink_bridge.protocol.parameters import Parameters

__all__ = ["Autopilot", "Codec", "Link", "Parameters", "open_link", "parse_url", "read_key"]
