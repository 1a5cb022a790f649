"""The command `dronebms run`: the service, until it is stopped."""

import argparse
from contextlib import ExitStack

from dronebms import logs
from dronebms.cli_extras import fleet_sinks
from dronebms.clock import SystemClock
from dronebms.service import serve


def run(options: argparse.Namespace) -> None:
    """Serve."""
    logs.start(SystemClock(), as_json=options.log == "json")
    with ExitStack() as stack:
        serve(options.config, stack, [fleet_sinks])
