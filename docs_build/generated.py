# SPDX-License-Identifier: Apache-2.0
"""Every generated file: its path in the repository and its text."""

from pathlib import Path

from docs_build.command_line import SHELLS, completion, man_page
from docs_build.quality_page import quality_page
from docs_build.reference_pages import reference_pages
from docs_build.schema import schema_text

ROOT = Path(__file__).parents[1]


def generated_files() -> dict[str, str]:
    """Text of each generated file by its path in the repository."""
    return {
        **{f"packaging/completion/{name}": completion(shell) for shell, name in SHELLS.items()},
        "packaging/dronebms.1": man_page(),
        "packaging/dronebms.schema.json": schema_text(),
        "docs/quality.md": quality_page(),
        **reference_pages(),
    }


def stale_files() -> list[str]:
    """Paths of the files that are absent or differ from what is generated."""

    def stands(name: str, text: str) -> bool:
        path = ROOT / name
        return path.is_file() and path.read_text(encoding="utf-8") == text

    return [name for name, text in generated_files().items() if not stands(name, text)]
