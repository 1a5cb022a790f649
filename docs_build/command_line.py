# SPDX-License-Identifier: Apache-2.0
"""Completion of the shells and the man page, from the parser of the command line.

shtab and argparse-manpage read the parser as it is, so that an option is written once, as a row of
`dronebms.cli.options`.
"""

import argparse
import os
from collections.abc import Iterator
from unittest.mock import patch

import shtab
from argparse_manpage.manpage import Manpage

from dronebms import __version__
from dronebms.cli.commands import COMMANDS
from dronebms.cli.option_values import path_option
from dronebms.cli.options import parser

# File names of the completion, as bash, zsh and fish look for them.
SHELLS = {"bash": "dronebms", "zsh": "_dronebms", "fish": "dronebms.fish"}
_FOLDERS = ("DIR",)  # metavars of options whose file is a folder
_WIDTH = "100"  # columns of the usage lines, whatever the terminal has


def completion(shell: str) -> str:
    """Completion script of `bash`, `zsh` or `fish`."""
    root = parser(COMMANDS)
    for action in _actions(root):
        if action.type is path_option:
            folder = action.metavar in _FOLDERS
            vars(action)["complete"] = shtab.DIRECTORY if folder else shtab.FILE
    return shtab.complete(root, shell=shell)


def man_page() -> str:
    """Man page dronebms(1), with every command."""
    with patch.dict(os.environ, {"COLUMNS": _WIDTH}):
        root = parser(COMMANDS)
        data = {
            "project_name": "dronebms",
            "description": "battery management for a drone's companion computer",
            "version": __version__,
            "manual_title": "dronebms",
            "date": " ",  # a date would differ with each build
        }
        return f"{Manpage(root, data, format='single-commands-section')}"


def _actions(root: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in root._actions:  # noqa: SLF001 - argparse has no other way to list them
        yield action
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from _actions(inner)
