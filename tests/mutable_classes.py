# SPDX-License-Identifier: Apache-2.0
"""Dataclasses of a package that can be changed after they were made."""

import pkgutil
from dataclasses import is_dataclass
from importlib import import_module


def mutable_classes(package: str) -> set[str]:
    """Names of the dataclasses in the modules of a package that are not frozen."""
    root = import_module(package)
    names = [name for _, name, _ in pkgutil.walk_packages(root.__path__, f"{package}.")]
    return {
        one.__name__
        for name in (package, *names)
        for one in vars(import_module(name)).values()
        if isinstance(one, type) and is_dataclass(one) and one.__module__ == name
        and not one.__dataclass_params__.frozen  # type: ignore[attr-defined]  # of dataclasses
    }  # fmt: skip
