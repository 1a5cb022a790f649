# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms ardupilot-script`: writes the Lua driver for ArduPilot."""

import argparse

from dronebms.cli.exit_codes import DONE, print_stdout
from mavlink_bridge.protocol.lua_driver import write_script


def ardupilot_script(options: argparse.Namespace) -> int:
    """Write the Lua driver, and print its path."""
    print_stdout(str(write_script(options.out, force=options.force)))
    return DONE
