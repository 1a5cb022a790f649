# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of docs/web.md from a seeded mission: the page on a phone and on a desktop.

    python -m benchmarks.web_pictures

Needs Chromium and its driver (apt install chromium chromium-driver).
"""

import io
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event, Thread

from PIL import Image
from selenium.webdriver import Chrome

from dronebms.core.clock import PacedClock, SystemClock
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.telemetry.status_socket import StatusServer
from tests.integration.browser import CHROMIUM, DRIVER, MISSING, browser, resize
from tests.web.process import WebProcess

DOCS = Path(__file__).parents[1] / "docs"
FLIGHT, FAULT, MOMENT_S = "mission", "weak_cell=0.9", 480.0
FASTER = 40.0  # than real until the moment, so that the trends of the page have a flight in them
SHOTS = (("web_phone.png", 390, 1330, False), ("web_desktop.png", 1280, 700, True))
SETTLE_S = 7.0  # trends are sent every five seconds
COLOURS = 96


def fly(server: StatusServer, at_moment: Event, ended: Event) -> None:
    """Send the reports of the flight to the page, from the moment on in real time."""
    with ExitStack() as stack:
        options = SimOptions(FLIGHT, 1, speed=None, faults=(FAULT,))
        pace = PacedClock(SystemClock(FASTER))
        for report in Simulation(options, stack).reports():
            if report.t_s >= MOMENT_S and not at_moment.is_set():
                at_moment.set()
                pace = PacedClock(SystemClock(start_s=report.t_s))
            pace.sleep_until(report.t_s)
            server(report)
            if ended.is_set():
                return


def shot(driver: Chrome, path: Path, height: int) -> None:
    """Store what the browser shows."""
    drawn = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    cropped = drawn.crop((0, 0, drawn.width, min(height, drawn.height)))
    cropped.quantize(COLOURS).save(path, optimize=True)
    print(f"{path.name}: {cropped.width}x{cropped.height}, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Fly, open the page and draw."""
    if CHROMIUM is None or DRIVER is None:
        sys.exit(MISSING)
    at_moment, ended = Event(), Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(closing(StatusServer(folder / "s.sock")))
        web = stack.enter_context(closing(WebProcess(folder / "s.sock")))
        driver = stack.enter_context(browser(folder))
        thread = Thread(target=fly, args=(server, at_moment, ended))
        thread.start()
        try:
            at_moment.wait()
            for name, width, height, dark in SHOTS:
                resize(driver, width, height, dark=dark)
                driver.get(web.url)
                Event().wait(SETTLE_S)
                shot(driver, DOCS / name, height)
        finally:
            ended.set()
            thread.join()


if __name__ == "__main__":
    main()
