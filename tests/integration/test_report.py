"""The report page of a flight in a real browser: layout on a phone and on paper.

Needs Chromium: `sudo apt install chromium`.
"""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from matplotlib.image import imread

from dronebms.cli.main import main

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser: sudo apt install chromium")
PHONE_PX, HEIGHT_PX = 390, 5000
SECONDS, FROM_V, TO_V = 600, 16.8, 12.0
# A frame as wide as a phone, and a script that measures its page.
FRAME = """<!doctype html><body style="margin:0">
<iframe src="report.html" style="border:0; width:390px; height:5000px"
  onload="measure(this)"></iframe>
<pre id="found"></pre>
<script>
function measure(frame) {
  const page = frame.contentDocument;
  const place = e => {
    const r = e.getBoundingClientRect();
    return [r.left, r.top, r.right, r.bottom];
  };
  const scale = e => e.getScreenCTM ? e.getScreenCTM().a : 1;
  const sizes = [...page.querySelectorAll("body *")]
    .filter(e => e.tagName != "STYLE")
    .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
    .map(e => parseFloat(getComputedStyle(e).fontSize) * scale(e));
  const drawn = colour => [...page.querySelector("figure").querySelectorAll("path")]
    .filter(e => colour.test(e.getAttribute("style"))).map(place);
  document.getElementById("found").textContent = JSON.stringify({
    scroll: page.documentElement.scrollWidth, least: Math.min(...sizes), texts: sizes.length,
    curve: drawn(/0072b2/i)[0], axes: drawn(/fill: #ffffff/)[1],
    figures: page.querySelectorAll("figure svg").length,
    fetched: frame.contentWindow.performance.getEntriesByType("resource").length,
    ink: getComputedStyle(page.body).color, paper: getComputedStyle(page.body).backgroundColor,
    words: page.body.innerText });
}
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report page of a flight whose voltage falls in a straight line."""
    folder = tmp_path_factory.mktemp("report")
    rows = [f"{t},{FROM_V + (TO_V - FROM_V) * t / SECONDS:.4f},20,25" for t in range(SECONDS + 1)]
    table = "\n".join(("t_s,voltage_v,current_a,temperature_degc", *rows, ""))
    (folder / "straight.csv").write_text(table, encoding="utf-8")
    side = '{"cells": 4, "chemistry": "lipo", "capacity_mah": 5000}'
    (folder / "straight.json").write_text(side, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME, encoding="utf-8")
    assert main(["report", str(folder / "straight.csv"), "-o", str(folder / "report.html")]) == 0
    return folder


def browse(folder: Path, page: str, *options: str) -> str:
    """Open a page in a browser with an empty profile and without a network."""
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",  # root in a container cannot create one
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={folder / 'profile'}",
        "--proxy-server=127.0.0.1:9",
        f"--window-size=1000,{HEIGHT_PX}",
        *options,
        (folder / page).as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603 - a fixed program
    return done.stdout


def measured(folder: Path) -> dict[str, object]:
    shown = re.search(
        r'<pre id="found">(.*?)</pre>', browse(folder, "frame.html", "--dump-dom"), re.DOTALL
    )
    assert shown is not None
    found: dict[str, object] = json.loads(unescape(shown[1]))
    return found


def test_on_a_phone_the_page_is_readable_and_the_curve_has_its_place(folder: Path) -> None:
    found = measured(folder)
    assert found["scroll"] == PHONE_PX  # no scrolling sideways
    assert isinstance(found["least"], float | int)
    assert found["least"] >= 10.0
    assert isinstance(found["texts"], int)
    assert found["texts"] > 100
    assert (found["figures"], found["fetched"]) == (7, 0)
    assert (found["ink"], found["paper"]) == ("rgb(17, 17, 17)", "rgb(255, 255, 255)")
    for words in ("Verdict: ", "Pack voltage\t12.00 V to 16.80 V", "Signature", "not recorded"):
        assert words in str(found["words"])

    browse(folder, "frame.html", f"--screenshot={folder / 'shot.png'}")
    shot = imread(folder / "shot.png")
    assert isinstance(found["curve"], list)
    left, top, right, bottom = found["curve"]
    assert isinstance(found["axes"], list)
    axes_left, axes_top, axes_right, axes_bottom = found["axes"]
    assert axes_right - axes_left > 250
    margin = (axes_bottom - axes_top) / 22  # 5 % of the values, at both ends
    assert (left, right) == pytest.approx((axes_left, axes_right), abs=2.0)
    assert (top - axes_top, axes_bottom - bottom) == pytest.approx((margin, margin), abs=2.0)
    for share in (0.05, 0.3, 0.5, 0.7, 0.95):
        x, y = round(left + share * (right - left)), round(top + share * (bottom - top))
        around = shot[y - 2 : y + 3, x - 1 : x + 2, :3].reshape(-1, 3)
        assert any(b > r + 0.3 and b > 0.5 for r, _, b in around), f"no blue at {x}, {y}"
        off = shot[round(bottom - share * (bottom - top)), x, :3]
        assert abs(share - 0.5) < 0.1 or off.min() > 0.8, f"not white next to the curve at {x}"


def test_printed_the_report_has_two_to_four_pages(folder: Path) -> None:
    browse(folder, "report.html", f"--print-to-pdf={folder / 'paper.pdf'}")
    paper = (folder / "paper.pdf").read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", paper))
    assert 2 <= pages <= 4
    a4 = rb"/MediaBox\s*\[\s*0\s+0\s+59[45](?:\.\d+)?\s+84[12](?:\.\d+)?"
    assert len(re.findall(a4, paper)) == pages
