# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms run`: the service, until it is stopped."""

import argparse
from contextlib import ExitStack

from dronebms.cli.exit_codes import DONE
from dronebms.core.clock import SystemClock
from dronebms.service import log_output
from dronebms.service.service import serve


def run(options: argparse.Namespace) -> int:
    """Run the service."""
    log_output.start(SystemClock(), as_json=options.log == "json")
    with ExitStack() as stack:
        serve(options.config, stack)
    return DONE
