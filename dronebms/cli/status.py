# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms status`: live display of a running service, read-only.

Exit code 0: the user quit. 1: no service found, or a service of another version.
"""

import argparse
from collections.abc import Iterator
from itertools import chain

from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.core.clock import OncePerSecond, SystemClock
from dronebms.core.errors import LinkError
from dronebms.core.report import Report
from dronebms.telemetry import json_line
from dronebms.telemetry.status_socket import read_status
from dronebms.terminal.display import Display


def status(options: argparse.Namespace) -> int:
    """Show the reports of the service until q or Ctrl-C."""
    clock = SystemClock()
    reports = read_status(options.socket, clock)
    try:
        reports = chain([next(reports)], reports)  # without a service the terminal is not taken
        if options.json:
            _print(reports)
        with Display(clock, plain=options.plain, bell=options.bell) as display:
            for report in reports:
                display(report)
                if display.closed:
                    return DONE
    except LinkError as error:
        print_stderr(str(error))
    return FAILED


def _print(reports: Iterator[Report]) -> None:
    """Print the predictions of each battery once a second of the service's clock."""
    due: dict[int, tuple[float, OncePerSecond]] = {}
    for report in reports:
        before_s, each = due.get(report.index, (report.t_s, OncePerSecond()))
        if report.t_s < before_s:  # the service was restarted, with a new clock
            each = OncePerSecond()
        due[report.index] = report.t_s, each
        if each.due(report.t_s):
            print(json_line.text(report), flush=True)
