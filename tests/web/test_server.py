# SPDX-License-Identifier: Apache-2.0
"""The server of the page as a process: requests, streams, token, signals."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from time import monotonic

import pytest

from dronebms.web.hub import MAX_VIEWERS
from dronebms.web.server import FILES, HEADERS
from tests.mavlink_bridge.loopback import until
from tests.scenes import FLYING, SECOND
from tests.web.process import Scene, Stream, WebProcess

SECRET = "-".join(("correct", "horse", "battery"))
END_S = 5.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the socket of a service."""
    folder = tmp_path_factory.mktemp("web")
    with closing(Scene(folder / "s.sock", (FLYING, SECOND))):
        yield folder


@pytest.fixture(scope="module")
def web(folder: Path) -> Iterator[WebProcess]:
    with closing(WebProcess(folder / "s.sock")) as web:
        yield web


def status_of(answer: str) -> int:
    return int(answer.split()[1])


def test_every_file_of_the_page_is_served_with_its_headers(web: WebProcess) -> None:
    for path, (name, kind) in FILES.items():
        head, _, body = web.get(path).partition("\r\n\r\n")
        assert status_of(head) == 200, path
        assert f"content-type: {kind}" in head
        for header, value in HEADERS.items():
            assert f"{header.lower()}: {value}" in head
        assert "server:" not in head
        assert len(body) > 100, name


def test_a_file_of_the_page_needs_no_thread(web: WebProcess) -> None:
    def threads() -> int:
        return len(list(Path(f"/proc/{web.process.pid}/task").iterdir()))

    before = threads()
    for _ in range(20):
        assert status_of(web.get("/")) == 200
        assert threads() == before


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/events", "/page.js"])
def test_nothing_but_get_is_answered(web: WebProcess, method: str, path: str) -> None:
    answer = web.get(path, method)
    assert status_of(answer) == 405
    assert "allow: GET" in answer


@pytest.mark.parametrize(
    "path", ["/none", "/../pyproject.toml", "/%2e%2e/server.py", "/page.js/", "//", "/page.html"]
)
def test_no_other_path_has_an_answer(web: WebProcess, path: str) -> None:
    assert status_of(web.get(path)) in {404, 307}
    assert "Starlette" not in web.get(path)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "", "127.0.0.1.evil.example"]
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_a_name_that_is_not_this_computers_is_refused(
    web: WebProcess, host: str, path: str
) -> None:
    assert status_of(web.get(path, Host=host)) == 421


def test_bytes_that_are_no_request_do_no_harm(web: WebProcess) -> None:
    chosen = random.Random(7)  # noqa: S311 - a seed
    for _ in range(50):
        with web.connect() as connection, suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\n"[: chosen.randrange(16)])
            connection.sendall(chosen.randbytes(chosen.randrange(400)))
            connection.sendall(b"\r\n\r\n")
            connection.recv(100)
    assert status_of(web.get()) == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_connections_without_a_request_do_not_shut_out_a_viewer(
    web: WebProcess, sent: bytes
) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(web.connect()) for _ in range(150)]
        for connection in silent:
            with suppress(OSError):  # more than there may be
                connection.sendall(sent)

        def is_served() -> bool:
            try:
                return web.get().startswith("HTTP/1.1 200")
            except OSError:
                return False

        assert until(is_served)
        assert is_served()


def test_ten_viewers_get_two_states_a_second_next_to_one_that_stalls(web: WebProcess) -> None:
    with ExitStack() as stack:
        stuck = stack.enter_context(closing(Stream(web, receive_bytes=4096)))
        viewers = [stack.enter_context(closing(Stream(web))) for _ in range(10)]
        for viewer in viewers:
            first = viewer.until("event: state")
            assert first.startswith("HTTP/1.1 200")
            assert "content-type: text/event-stream" in first
            viewer.until('"label":"battery 2"')
        start_s = monotonic()
        for _ in range(8):
            for viewer in viewers:
                viewer.until("event: state")
                viewer.until("\n\n")
        assert 2.5 < monotonic() - start_s < 6.0
        assert stuck.text == ""


def test_the_viewer_above_the_limit_is_refused_in_words(web: WebProcess) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_VIEWERS):
            stack.enter_context(closing(Stream(web))).until("event: state")
        answer = web.get("/events")
        assert f'"notice":"{MAX_VIEWERS} viewers are connected, which is the limit"' in answer
        assert "retry: 10000" in answer
        assert status_of(web.get("/")) == 200
    end_s = monotonic() + END_S  # the places are free when the server has noticed
    while "which is the limit" in (answer := _first_state(web)):
        assert monotonic() < end_s
    assert "battery 1" in answer


@pytest.mark.slow
def test_a_viewer_that_stalls_is_disconnected(web: WebProcess) -> None:
    with ExitStack() as stack:
        stuck = [
            stack.enter_context(closing(Stream(web, receive_bytes=2048)))
            for _ in range(MAX_VIEWERS)
        ]
        for viewer in stuck:
            viewer.until("event: state")
        # Buffers of the kernel and the server fill first; then it is 20 s.
        end_s = monotonic() + 200.0
        while "which is the limit" in (answer := _first_state(web)):
            assert monotonic() < end_s
        assert "battery 1" in answer


def _first_state(web: WebProcess) -> str:
    with closing(Stream(web)) as viewer:
        return viewer.until("event: state") + viewer.until("\n\n")


# ---------------------------------------------------------------------- the service


def test_a_service_that_ends_is_named_and_one_that_starts_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with closing(WebProcess(path)) as web, closing(Stream(web)) as viewer:
        viewer.until(f'"notice":"no service at {path}: No such file or directory, reconnecting"')
        with closing(Scene(path, (FLYING,))):
            viewer.until('"value":"18.4 A"')
        ended_s = monotonic()
        viewer.until('"why":"service not running; no service is running, reconnecting"')
        gone = viewer.until("\n\n")
        assert monotonic() - ended_s < 3.0
        assert "18.4 A" not in gone
        with closing(Scene(path, (FLYING,))):
            viewer.until('"value":"18.4 A"')


# ---------------------------------------------------------------------- token


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[WebProcess]:
    token = folder / "token"
    token.write_text(f"{SECRET}\n")
    listen = "0.0.0.0:0"
    with closing(WebProcess(folder / "s.sock", "--token", str(token), listen=listen)) as web:
        yield web


@pytest.mark.parametrize("path", ["/", "/events", "/page.js", "/none", "/?token=", "/?token=wrong"])
def test_without_the_token_nothing_is_answered(guarded: WebProcess, path: str) -> None:
    answer = guarded.get(path)
    assert status_of(answer) == 401
    assert "The token is missing or wrong" in answer
    assert status_of(guarded.get(path, Authorization="Bearer wrong")) == 401
    assert status_of(guarded.get(path, Authorization=f"Basic {SECRET}")) == 401
    assert status_of(guarded.get(path, Cookie=f"dronebms={SECRET}")) == 401


def test_the_token_comes_once_in_the_url_and_is_then_a_cookie(guarded: WebProcess) -> None:
    answer = guarded.get(f"/?token={SECRET}")
    assert status_of(answer) == 303
    assert "location: ./\r\n" in answer
    (line,) = [row for row in answer.splitlines() if row.startswith("set-cookie: ")]
    cookie, *settings = line.removeprefix("set-cookie: ").split("; ")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(settings)
    assert SECRET not in line
    assert status_of(guarded.get("/", Cookie=cookie)) == 200
    assert status_of(guarded.get("/page.js", Authorization=f"Bearer {SECRET}")) == 200
    assert status_of(guarded.get(f"/page.js?token={SECRET}")) == 200
    name, _, value = cookie.partition("=")
    other = "0" if value[-1] != "0" else "1"
    assert status_of(guarded.get("/", Cookie=f"{name}={value[:-1]}{other}")) == 401
    assert status_of(guarded.get("/", Cookie=f"{name}=")) == 401


# ---------------------------------------------------------------------- command


def command(*options: str, code: str = "") -> "subprocess.CompletedProcess[str]":
    run = "from dronebms.cli.main import main\nraise SystemExit(main(['web', *sys.argv[1:]]))"
    return subprocess.run(  # noqa: S603 - our own command
        (sys.executable, "-c", f"import sys\n{code}\n{run}", *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=30.0,
    )


def test_what_cannot_be_used_is_one_sentence_and_code_2(web: WebProcess, tmp_path: Path) -> None:
    used = f"127.0.0.1:{web.port}"
    sentences = {
        ("--listen", used): f"dronebms: cannot listen on {used}: Address already in use\n",
        ("--listen", "0.0.0.0:0"): "dronebms: --listen 0.0.0.0:0: other computers can connect "
        "there; give --token FILE\n",
        ("--listen", "8420"): "dronebms web: argument --listen: expected HOST:PORT, not '8420'; "
        "see dronebms web --help\n",
        ("--token", f"{tmp_path}/none"): f"dronebms: --token {tmp_path}/none: No such file or "
        "directory\n",
    }
    for options, sentence in sentences.items():
        done = command(*options)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_without_the_extra_it_is_one_sentence() -> None:
    done = command(code="sys.modules['uvicorn'] = None")
    assert done.returncode == 2
    assert done.stderr.startswith("dronebms: web needs uvicorn: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_its_code_also_with_viewers(
    folder: Path, number: signal.Signals, code: int
) -> None:
    with closing(WebProcess(folder / "s.sock")) as web, closing(Stream(web)) as viewer:
        viewer.until("event: state")
        web.process.send_signal(number)
        assert web.process.wait(END_S) == code
        assert web.process.stderr is not None
        assert web.process.stderr.read() == ""
