# SPDX-License-Identifier: Apache-2.0
"""The commands by name; each imports its module when it is called.

The service starts faster that way, and its process does not load the other commands.
"""
# ruff: noqa: PLC0415 - see above

import argparse

from dronebms.cli.exit_codes import Command


def _sim(options: argparse.Namespace) -> int:
    from dronebms.cli.sim import sim

    return sim(options)


def _run(options: argparse.Namespace) -> int:
    from dronebms.cli.run import run

    return run(options)


def _status(options: argparse.Namespace) -> int:
    from dronebms.cli.status import status

    return status(options)


def _web(options: argparse.Namespace) -> int:
    from dronebms.cli.web import web

    return web(options)


def _probe(options: argparse.Namespace) -> int:
    from dronebms.cli.probe import probe

    return probe(options)


def _replay(options: argparse.Namespace) -> int:
    from dronebms.cli.replay import replay

    return replay(options)


def _report(options: argparse.Namespace) -> int:
    from dronebms.cli.report import report

    return report(options)


def _plot(options: argparse.Namespace) -> int:
    from dronebms.cli.report import plot

    return plot(options)


def _sitl(options: argparse.Namespace) -> int:
    from dronebms.cli.sim import sitl

    return sitl(options)


def _check(options: argparse.Namespace) -> int:
    from dronebms.cli.check import check

    return check(options)


def _init(options: argparse.Namespace) -> int:
    from dronebms.cli.init import init

    return init(options)


def _ardupilot_script(options: argparse.Namespace) -> int:
    from dronebms.cli.ardupilot_script import ardupilot_script

    return ardupilot_script(options)


def _packs(options: argparse.Namespace) -> int:
    from dronebms.cli.packs.command import packs

    return packs(options)


def _campaign(options: argparse.Namespace) -> int:
    from dronebms.cli.campaign import campaign

    return campaign(options)


COMMANDS: dict[str, Command] = {
    "sim": _sim,
    "run": _run,
    "status": _status,
    "web": _web,
    "probe": _probe,
    "replay": _replay,
    "report": _report,
    "plot": _plot,
    "sitl": _sitl,
    "check": _check,
    "init": _init,
    "ardupilot-script": _ardupilot_script,
    "packs": _packs,
    "campaign": _campaign,
}
