# SPDX-License-Identifier: Apache-2.0
"""The live page in a real browser: layout, texts, colours, lost connections, foreign text.

Needs Chromium and its driver: `sudo apt install chromium chromium-driver`.
"""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from selenium.webdriver import Chrome

from dronebms.core.report import Event, Report, Severity
from dronebms.web.hub import MAX_VIEWERS
from dronebms.web.page_state import page_state
from smartbattery.snapshot import Identity
from tests.integration.browser import CHROMIUM, DRIVER, MISSING, browser, resize
from tests.mavlink_bridge.loopback import WAIT_S
from tests.scenes import (
    EVENTS,
    FLYING,
    IN_TROUBLE,
    MANY_CELLS,
    ON_MISSION,
    SECOND,
    SILENT,
    TURN_BACK_NOW,
)
from tests.telemetry.test_status_socket import service
from tests.web.process import Scene, Stream, WebProcess

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=MISSING),
    pytest.mark.slow,
]
SCREENS = ((360, 640), (820, 1180), (1440, 900))
VANISH_S = 3.0
SECRET = "-".join(("correct", "horse", "battery"))
SCENES: dict[str, tuple[Report, ...]] = {
    "flying": (FLYING,),
    "in trouble": (replace(IN_TROUBLE, status=replace(IN_TROUBLE.status, events=EVENTS)), SECOND),
    "many cells": (MANY_CELLS, SECOND, replace(MANY_CELLS, index=2)),
    "silent": (SILENT,),
    "on a mission": (ON_MISSION,),
    "turn back": (TURN_BACK_NOW,),
}
# The contrast of every text with the colour below it (WCAG 2), and the least size of a letter.
CONTRAST = """
const channels = colour => colour.match(/[\\d.]+/g).map(Number);
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => {
  v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b; };
const below = e => { for (; e; e = e.parentElement) {
  const c = channels(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
  return [255, 255, 255]; };
return [...document.querySelectorAll("body *")]
  .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
  .map(e => { const style = getComputedStyle(e);
    const [a, b] = [light(channels(style.color)), light(below(e))].sort((x, y) => y - x);
    return [e.textContent, (a + .05) / (b + .05), parseFloat(style.fontSize)]; });
"""
LAYOUT = """
const box = e => { const r = e.getBoundingClientRect();
  return [r.left, r.top, r.right, r.bottom]; };
return {scroll: document.documentElement.scrollWidth, width: innerWidth, height: innerHeight,
  answers: [...document.querySelectorAll(".answer")].map(e => [e.firstChild.textContent, box(e)]),
  beyond: [...document.querySelectorAll("body *")].filter(e => e.checkVisibility())
    .filter(e => box(e)[0] < -.5 || box(e)[2] > innerWidth + .5).map(e => e.outerHTML.slice(0, 99)),
  cut: [...document.querySelectorAll("body *")].filter(e => !e.closest("svg"))
    .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth && e.className != "bar")
    .map(e => e.outerHTML.slice(0, 99))};
"""
REQUESTS = "return performance.getEntriesByType('resource').map(e => e.name)"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def words(driver: Chrome) -> str:
    """The text that is visible, in one line."""
    text = driver.execute_script("return document.body.innerText")
    return re.sub(r"\s+", " ", str(text))


def until(driver: Chrome, condition: Callable[[str], bool], within_s: float = WAIT_S) -> str:
    """Wait until the visible text meets a condition."""
    end_s = monotonic() + within_s
    while not condition(text := words(driver)):
        assert monotonic() < end_s, text
    return text


def _twice(part: str, text: str) -> bool:
    return text.count(part) == 2


def complaints(driver: Chrome) -> list[str]:
    """What the browser complains about, such as a violation of the page's policy."""
    rows = driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium
    messages = [str(row["message"]) for row in rows]
    return [message for message in messages if "Failed to load resource" not in message]


def values(driver: Chrome) -> list[str]:
    """The visible values of readings, cells and time left."""
    found = driver.execute_script(
        "return [...document.querySelectorAll('.value, .left strong, .answer strong')]"
        ".map(e => e.textContent)"
    )
    return [str(text) for text in found]


@pytest.mark.parametrize("scene", SCENES)
def test_the_page_fits_every_screen_and_shows_the_answers_first(
    shown: Chrome, tmp_path: Path, scene: str
) -> None:
    reports = SCENES[scene]
    with (
        closing(Scene(tmp_path / "s.sock", reports)),
        closing(WebProcess(tmp_path / "s.sock")) as web,
    ):
        for (width, height), dark in product(SCREENS, (False, True)):
            resize(shown, width, height, dark=dark)
            shown.get(web.url)
            text = until(shown, lambda text: "cells:" in text)
            for answer in page_state(reports)["answers"]:
                assert answer["word"] in text
                assert re.sub(r"\d", "", answer["why"])[:20] in re.sub(r"\d", "", text)
            found: dict[str, Any] = shown.execute_script(LAYOUT)
            assert (found["width"], found["height"]) == (width, height)
            assert found["scroll"] == width
            assert found["beyond"] == []
            assert found["cut"] == []
            labels = [label for label, _ in found["answers"]]
            assert labels[0] == "home"
            assert "limit" in labels
            for label, (_, top, _, bottom) in found["answers"]:
                if label in {"home", "mission", "limit", "state"}:
                    assert 0 <= top < bottom <= height, label
            for letters, contrast, size_px in shown.execute_script(CONTRAST):
                assert contrast >= 4.5, letters
                assert size_px >= 12.0, letters
            assert all(name.startswith(web.url) for name in shown.execute_script(REQUESTS))
        assert complaints(shown) == []


def test_the_weakest_cell_the_trends_and_the_alarms_are_shown(
    shown: Chrome, tmp_path: Path
) -> None:
    alarmed = replace(FLYING, status=replace(FLYING.status, events=EVENTS[:1]))
    with (
        closing(Scene(tmp_path / "s.sock", (alarmed,))),
        closing(WebProcess(tmp_path / "s.sock")) as web,
    ):
        resize(shown, 1440, 900)
        shown.get(web.url)
        until(shown, lambda text: "HIGH: pack 51 degC >= 50 degC" in text)
        (weakest,) = shown.execute_script(
            "return [...document.querySelectorAll('.weakest')].map(e => e.innerText)"
        )
        assert re.sub(r"\s+", " ", weakest) == "4 3.708 V -28 mV <- weakest"

        def lines() -> list[str]:
            drawn = "document.querySelectorAll('.line, .band')"
            paths = shown.execute_script(f"return [...{drawn}].map(e => e.getAttribute('d'))")
            return [str(path) for path in paths]

        end_s = monotonic() + WAIT_S
        while not any("L" in path for path in lines()):  # trends are sent every five seconds
            assert monotonic() < end_s
        assert [bool(path) for path in lines()] == [False, True, False, True, True, True]


def test_a_service_that_dies_leaves_no_value_and_one_that_returns_is_shown(
    shown: Chrome, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"

    def is_known(text: str) -> bool:
        return all(re.search(rf"battery {n} \S ", text) for n in (1, 2)) and "mAh used" in text

    with closing(WebProcess(path)) as web:
        resize(shown, 360, 640)
        shown.get(web.url)
        until(shown, lambda text: f"no service at {path}: No such file" in text)
        for signal_number, why in (
            (signal.SIGSTOP, "service silent; the service is silent"),
            (signal.SIGKILL, "service not running; no service is running, reconnecting"),
        ):
            with service(tmp_path) as process:
                until(shown, is_known)
                process.send_signal(signal_number)
                text = until(shown, partial(_twice, why), VANISH_S)
                assert "mAh used" not in text
                assert not [value for value in values(shown) if re.search(r"\d|YES|ok", value)]
    assert complaints(shown) == []


def test_without_the_process_of_the_page_no_value_stays(shown: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with closing(Scene(path, (FLYING,))):
        with closing(WebProcess(path)) as web:
            shown.get(web.url)
            until(shown, lambda text: "18.4 A" in text)
            web.process.send_signal(signal.SIGSTOP)  # connected, and silent
            text = until(shown, lambda text: "no connection to dronebms web for" in text, VANISH_S)
            assert not [value for value in values(shown) if re.search(r"\d|YES|ok", value)]
            assert "battery 1: lipo 6S" in text
            web.process.send_signal(signal.SIGCONT)
            until(shown, lambda text: "18.4 A" in text and "no connection" not in text)
        until(shown, lambda text: "no connection to dronebms web for" in text, VANISH_S)
        assert not [value for value in values(shown) if re.search(r"\d|YES|ok", value)]
        with closing(WebProcess(path, listen=f"127.0.0.1:{web.port}")):
            until(shown, lambda text: "18.4 A" in text and "no connection" not in text)
    assert complaints(shown) == []


def test_other_viewers_and_one_that_stalls_do_not_slow_the_page(
    shown: Chrome, tmp_path: Path
) -> None:
    with (
        closing(Scene(tmp_path / "s.sock", (FLYING,))),
        closing(WebProcess(tmp_path / "s.sock")) as web,
    ):
        viewers = [Stream(web, receive_bytes=2048) for _ in range(10)]  # none of them reads
        shown.get(web.url)
        clocks = set()
        end_s = monotonic() + 6.0
        until(shown, lambda text: "18.4 A" in text)
        while monotonic() < end_s:
            clocks.add(re.search(r"\d\d:\d\d:\d\d", words(shown)))
        times = {found[0] for found in clocks if found is not None}
        assert len(times) >= 4
        assert "no connection" not in words(shown)
        for viewer in viewers:
            viewer.close()


def test_the_page_above_the_limit_of_viewers_names_it_and_opens_when_one_leaves(
    shown: Chrome, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"
    with closing(Scene(path, (FLYING,))), closing(WebProcess(path)) as web, ExitStack() as stack:
        viewers = [stack.enter_context(closing(Stream(web))) for _ in range(MAX_VIEWERS)]
        for viewer in viewers:
            viewer.until("event: state")
        shown.get(web.url)
        limit = f"{MAX_VIEWERS} viewers are connected, which is the limit"
        until(shown, lambda text: limit in text)
        end_s = monotonic() + VANISH_S
        while monotonic() < end_s:
            assert limit in words(shown)
        viewers[0].close()
        until(shown, lambda text: "18.4 A" in text and limit not in text)


FOREIGN = (
    "<script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    '"><svg onload=window.owned=1>',
    "javascript:window.owned=1",
    "</textarea>\u202e&lt;b&gt;",
)


def test_text_of_a_pack_is_text(shown: Chrome, tmp_path: Path) -> None:
    for text in FOREIGN:
        event = Event(1.0, "hot", Severity.WARNING, tripped=True, text=text)
        snapshot = replace(
            FLYING.snapshot, identity=Identity(device=text), trouble=text, doubts=(text,)
        )
        vehicle = replace(FLYING.vehicle, mode=text, link_trouble=text)
        report = replace(
            FLYING,
            snapshot=snapshot,
            vehicle=vehicle,
            status=replace(FLYING.status, events=(event,), limited_by=text, labels={text: text}),
        )
        folder = tmp_path / str(FOREIGN.index(text))
        reports = (report, replace(report, index=1))
        with (
            closing(Scene(folder / "s.sock", reports)),
            closing(WebProcess(folder / "s.sock")) as web,
        ):
            shown.get(web.url)
            seen = until(shown, lambda text: "battery 2: " in text)
            assert seen.count(text.replace("\u202e", "?")) >= 8
            made = "document.querySelectorAll('main script, main img, main b, svg[onload]')"
            assert shown.execute_script(f"return {made}.length") == 0
            assert shown.execute_script("return window.owned") is None
    assert complaints(shown) == []


def test_the_token_opens_the_page_once_and_for_all(shown: Chrome, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    with (
        closing(Scene(tmp_path / "s.sock", (FLYING,))),
        closing(WebProcess(tmp_path / "s.sock", "--token", str(token))) as web,
    ):
        shown.get(web.url)
        until(shown, lambda text: "The token is missing or wrong" in text)
        shown.get(f"{web.url}?token={SECRET}")
        until(shown, lambda text: "18.4 A" in text)
        assert shown.current_url == web.url
        shown.get(web.url)
        until(shown, lambda text: "18.4 A" in text)
        assert SECRET not in str(shown.execute_script("return document.cookie"))
        shown.delete_all_cookies()
        shown.get(web.url)
        until(shown, lambda text: "The token is missing or wrong" in text)
    assert complaints(shown) == []
