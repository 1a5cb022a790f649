# SPDX-License-Identifier: Apache-2.0
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
    .filter(e => !["STYLE", "SCRIPT"].includes(e.tagName) && e.getClientRects().length)
    .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
    .map(e => parseFloat(getComputedStyle(e).fontSize) * scale(e));
  const drawn = colour => [...page.querySelector("svg.narrow").querySelectorAll("path")]
    .filter(e => colour.test(e.getAttribute("style"))).map(place);
  document.getElementById("found").textContent = JSON.stringify({
    scroll: page.documentElement.scrollWidth, least: Math.min(...sizes), texts: sizes.length,
    curve: drawn(/0072b2/i)[0], axes: drawn(/fill: #ffffff/)[1],
    figures: [...page.querySelectorAll("figure svg")].filter(e => e.getClientRects().length).length,
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


def measured(folder: Path, page: str = "frame.html") -> dict[str, object]:
    shown = re.search(r'<pre id="found">(.*?)</pre>', browse(folder, page, "--dump-dom"), re.DOTALL)
    assert shown is not None
    found: dict[str, object] = json.loads(unescape(shown[1]))
    return found


@pytest.mark.parametrize("width_px", [320, 360])
def test_on_a_small_phone_nothing_is_beyond_the_edge(folder: Path, width_px: int) -> None:
    narrow = FRAME.replace(f"{PHONE_PX}px", f"{width_px}px")
    (folder / "narrow.html").write_text(narrow, encoding="utf-8")
    found = measured(folder, "narrow.html")
    assert found["scroll"] == width_px
    assert "EMERGENCY: " in str(found["words"])


def test_on_a_phone_the_page_is_readable_and_the_curve_has_its_place(folder: Path) -> None:
    found = measured(folder)
    assert found["scroll"] == PHONE_PX  # no scrolling sideways
    assert isinstance(found["least"], float | int)
    assert found["least"] >= 10.0
    assert isinstance(found["texts"], int)
    assert found["texts"] > 100
    assert (found["figures"], found["fetched"]) == (1, 0)
    assert (found["ink"], found["paper"]) == ("rgb(17, 17, 17)", "rgb(255, 255, 255)")
    for words in (
        "Check before the next flight: ",
        "Pack voltage\t12.00 V to 16.80 V",
        "Signature",
        "no pack history",
    ):
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


# Uses the page as a reader does, and writes what it shows.
READER = """<script>
addEventListener("load", () => {
  const figure = document.querySelector(".stack"), svg = figure.querySelector("svg.wide");
  const frame = svg.getBoundingClientRect(), found = {};
  const data = JSON.parse(figure.querySelector("script").textContent);
  const [x0, x1] = data.boxes[0].x.map(x => x / data.boxes[0].size[0]);
  const at = share => frame.left + frame.width * (x0 + share * (x1 - x0));
  const point = (kind, share) => svg.dispatchEvent(new PointerEvent(
    kind, {bubbles: true, clientX: at(share), clientY: frame.top + 50}));
  const shown = () => [...figure.querySelectorAll(".readout span")].map(e => e.textContent);
  const curve = () => [...svg.querySelectorAll("path")]
    .find(e => /0072b2/i.test(e.getAttribute("style"))).getBoundingClientRect();
  const press = key => figure.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  point("pointermove", 0.5);
  found.middle = shown();
  const whole = curve();
  point("pointerdown", 0.25); point("pointermove", 0.5); point("pointerup", 0.5);
  found.scale = curve().width / whole.width;
  found.left = (curve().left - at(0)) / whole.width;
  found.labels = [...svg.querySelectorAll(".label")].map(e => e.textContent);
  point("pointermove", 0.5);
  found.zoomed = shown();
  press("0");
  found.reset = curve().width / whole.width;
  press("+");
  press("ArrowRight");
  found.keyed = [curve().width / whole.width, shown()[0]];
  document.body.replaceChildren();
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script></body>"""


def test_the_crosshair_shows_values_and_the_zoom_a_part_of_the_flight(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    (folder / "reader.html").write_text(page.replace("</body>", READER), "utf-8")
    dumped = browse(folder, "reader.html", "--dump-dom")
    text = re.search(r'<pre id="found">(.*?)</pre>', dumped, re.DOTALL)
    assert text is not None
    found = json.loads(unescape(text[1]))
    assert found["middle"][0] in {"4:59", "5:00"}
    shown = [one.rsplit(" ", 2) for one in found["middle"] if one.endswith((" V", " A"))]
    values = {label: value for label, value, _ in shown}
    assert float(values["Pack voltage, pack"]) == pytest.approx(14.4, abs=0.02)
    assert float(values["Current, drawn"]) == 20.0
    assert found["scale"] == pytest.approx(4.0, rel=0.02)
    assert found["left"] == pytest.approx(-1.0, abs=0.02)
    assert [float(label) for label in found["labels"]][:5] == [2.5, 3.0, 3.5, 4.0, 4.5]
    assert found["zoomed"][0] in {"3:44", "3:45"}
    assert found["reset"] == pytest.approx(1.0, abs=0.01)
    assert found["keyed"][0] == pytest.approx(2.0, rel=0.02)
    assert found["keyed"][1] in {"3:47", "3:48"}


def test_printed_the_report_has_two_to_four_pages(folder: Path) -> None:
    browse(folder, "report.html", f"--print-to-pdf={folder / 'paper.pdf'}")
    paper = (folder / "paper.pdf").read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", paper))
    assert 2 <= pages <= 4
    a4 = rb"/MediaBox\s*\[\s*0\s+0\s+59[45](?:\.\d+)?\s+84[12](?:\.\d+)?"
    assert len(re.findall(a4, paper)) == pages
