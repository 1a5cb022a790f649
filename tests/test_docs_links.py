# SPDX-License-Identifier: Apache-2.0
"""Links of the Markdown pages lead to files and headings that exist; the index names each page."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them: lower case, spaces to hyphens, no marks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ +(.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Target and anchor of each link to a file of this repository."""
    for target in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            place, _, anchor = target.partition("#")
            yield (page.parent / place).resolve() if place else page, anchor


def test_every_internal_link_leads_to_a_file_and_a_heading() -> None:
    checked = [(page, *link) for page in PAGES for link in links(page)]
    broken = [
        f"{page.relative_to(ROOT)}: {target.name}#{anchor}"
        for page, target, anchor in checked
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert len(checked) > 100
    assert broken == []


def test_the_index_links_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {target for target, _ in links(index)}
    missing = [page.name for page in (ROOT / "docs").rglob("*.md") if page not in {*linked, index}]
    assert missing == []


def test_every_row_of_a_table_stands_in_one() -> None:
    """A renderer shows a row that does not follow a head and its rule as plain text."""
    outside, rows = [], 0
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for block in re.findall(r"(?:^\|.*\n?)+", text, re.M):
            lines = block.splitlines()
            rows += len(lines)
            if len(lines) < 3 or not re.fullmatch(r"\|[ :|-]+\|", lines[1]):
                outside.append(f"{page.relative_to(ROOT)}: {lines[0][:60]}")
    assert rows > 500
    assert outside == []
