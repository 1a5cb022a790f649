# SPDX-License-Identifier: Apache-2.0
"""Hooks of MkDocs: files of the repository outside of docs/ that the pages link to.

A page of the repository links to files as GitHub shows them. A Markdown file becomes a page of the
site, a folder a page that lists its files, any other file a page that prints it.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_DOCS = PurePosixPath("docs")
_FOLDER = "repository"  # of the site
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s#]+)(#[^)\s]*)?\)")
_LANGUAGES = {".py": "python", ".toml": "toml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside of docs/ that a page links to, and what those link to."""
    wanted = [one for page in sorted((ROOT / "docs").rglob("*.md")) for one in outside_of(page)]
    done: set[PurePosixPath] = set()
    while wanted:
        name = wanted.pop()
        if name in done:
            continue
        done.add(name)
        path = ROOT / name
        files.append(File.generated(config, str(site_path(name)), content=text_of(path)))
        if path.suffix == ".md":
            wanted += outside_of(path)
        elif path.is_dir():
            wanted += [name / inner.name for inner in shown_in(path)]
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:  # noqa: ANN401 - of MkDocs
    """Point the links of a page to the pages of the site."""
    here = PurePosixPath(page.file.src_uri)
    inside = here.parts[0] == _FOLDER
    source = PurePosixPath(_source_of(here)) if inside else _DOCS / here

    def moved(link: re.Match[str]) -> str:
        target = _resolved(source, link[1])
        place = target.relative_to(_DOCS) if target.is_relative_to(_DOCS) else site_path(target)
        return f"]({_relative(place, here.parent)}{link[2] or ''})"

    parts, last = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(moved, markdown[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*parts, _LINK.sub(moved, markdown[last:])])


def outside_of(page: Path) -> Iterator[PurePosixPath]:
    """Paths in the repository, outside of docs/, that a Markdown file links to."""
    source = PurePosixPath(page.relative_to(ROOT))
    for link in _LINK.finditer(_CODE.sub("", page.read_text(encoding="utf-8"))):
        target = _resolved(source, link[1])
        if not target.is_relative_to(_DOCS):
            yield target


def site_path(name: PurePosixPath) -> PurePosixPath:
    """Path in the site of the page for a file of the repository."""
    place = PurePosixPath(_FOLDER, name)
    return place if name.suffix == ".md" else place.with_name(f"{name.name}.md")


def _source_of(page: PurePosixPath) -> str:
    """File of the repository that a page of the site was made for."""
    name = page.relative_to(_FOLDER)
    return str(name if (ROOT / name).is_file() else name.with_suffix(""))


def shown_in(folder: Path) -> list[Path]:
    """Files of a folder that its page lists."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".pyc")


def text_of(path: Path) -> str:
    """Markdown of the page for a file or a folder."""
    if path.is_dir():
        rows = [f"- [{inner.name}]({path.name}/{inner.name})" for inner in shown_in(path)]
        return "\n".join([f"# {path.name}", "", *rows, ""])
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"# {path.name}\n\n```{_LANGUAGES.get(path.suffix, '')}\n{text}```\n"


def _resolved(source: PurePosixPath, link: str) -> PurePosixPath:
    """Path in the repository of a relative link of a file."""
    parts: list[str] = []
    for part in (source.parent / link).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)


def _relative(target: PurePosixPath, folder: PurePosixPath) -> str:
    common = 0
    for one, other in zip(target.parts, folder.parts, strict=False):
        if one != other:
            break
        common += 1
    return "/".join([*[".."] * (len(folder.parts) - common), *target.parts[common:]])
