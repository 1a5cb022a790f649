# SPDX-License-Identifier: Apache-2.0
"""The site: built strictly, every page in it, no request to another site."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from docs_build import site_hooks
from docs_build.generated import ROOT

_OUTSIDE = re.compile(
    r"""<(?:script|img|iframe|link\s+rel="?stylesheet)[^>]*(?:src|href)="?https?:"""
)


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the program of this environment
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)],
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    docs = ROOT / "docs"
    names = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    listed = set(re.findall(r": (\S+\.md)$", navigation, re.M))
    assert names - listed == set(), "add the page to mkdocs.yml"


@pytest.mark.slow
def test_the_site_has_every_page_and_requests_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "site")
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    pages = {path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*.html")}
    docs = {
        path.relative_to(ROOT / "docs").with_suffix(".html")
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert docs <= pages
    assert Path("repository/examples/any_drone.toml.html") in pages
    texts = {page: (tmp_path / "site" / page).read_text(encoding="utf-8") for page in pages}
    assert [str(page) for page, text in texts.items() if _OUTSIDE.search(text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("link", ["absent.md", "service.md#no-such-heading"])
def test_a_link_that_leads_nowhere_ends_the_build(link: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "build", "data"))
    page = tmp_path / "copy" / "docs" / "home.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n[x]({link})\n", encoding="utf-8")
    done = build(tmp_path / "copy", tmp_path / "site")
    assert done.returncode != 0
    assert link.partition("#")[2] in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("index.md", "[a](../README.md#two)", "[a](repository/README.md#two)"),
        ("reference/json.md", "[a](../service.md)", "[a](../service.md)"),
        (
            "repository/README.md",
            "[a](docs/px4.md#x) [b](LICENSE)",
            "[a](../px4.md#x) [b](LICENSE.md)",
        ),
        (
            "index.md",
            "`[a](../README.md)` [b](https://x.org/y)",
            "`[a](../README.md)` [b](https://x.org/y)",
        ),
        ("index.md", "[a](../examples)", "[a](repository/examples.md)"),
    ],
)
def test_a_link_of_the_repository_becomes_one_of_the_site(
    page: str, markdown: str, expected: str
) -> None:
    class Source:
        src_uri = page

    class Page:
        file = Source()

    assert site_hooks.on_page_markdown(markdown, page=Page()) == expected


def test_a_folder_lists_its_files() -> None:
    text = site_hooks.text_of(ROOT / "examples")
    assert "- [read_pack.py](examples/read_pack.py)" in text
    assert site_hooks.site_path(PurePosixPath("LICENSE")) == PurePosixPath("repository/LICENSE.md")
