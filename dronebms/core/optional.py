# SPDX-License-Identifier: Apache-2.0
"""Optional dependencies: a package of an extra is imported when it is needed."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, util

from dronebms.core.errors import ConfigError


@contextmanager
def needed_by(feature: str, extra: str) -> Iterator[None]:
    """Turn a missing package into one sentence; the imports stand in the `with` block.

    Args:
        feature: the subject of the sentence, such as `[mqtt] needs`.
        extra: the extra of the distribution that brings the package.

    Raises:
        ConfigError: a package is not installed; the text ends with the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{feature} {error.name}: {_installing(extra)}") from error


def _installing(extra: str) -> str:
    """Command that installs the packages of an extra into the environment of this program.

    It names the packages, not the extra: this program is on no index.
    """
    try:
        rows = [row.partition(";") for row in metadata.requires("dronebms") or ()]
    except metadata.PackageNotFoundError:  # a copy of the source on the path
        rows = []
    wanted = f'extra == "{extra}"'
    packages = [name.strip() for name, _, marker in rows if wanted in marker.replace("'", '"')]
    if not packages:
        return f"install the extra {extra}"
    pip = [sys.executable, "-m", "pip", "install"]
    if util.find_spec("pip") is None:  # an environment of uv
        pip = ["uv", "pip", "install", "--python", sys.executable]
    if not os.access(sys.prefix, os.W_OK):
        pip.insert(0, "sudo")
    return shlex.join([*pip, *packages])
