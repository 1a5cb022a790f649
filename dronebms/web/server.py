# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of the page (extra `web`): fixed files and one stream of server-sent events.

One thread reads the service and hands the reports over to the event loop, which does the rest.
Every request is a GET that changes nothing.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from dronebms.core.clock import Clock
from dronebms.core.errors import LinkError
from dronebms.core.report import Report
from dronebms.web.access import Token, is_own_host
from dronebms.web.hub import MAX_VIEWERS, PERIOD_S, Cursor, Hub, message

ASSETS = Path(__file__).parent / "assets"
FILES = {  # path, file, type
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_COOKIE_S = 30 * 86400
_RETRY_MS = 1000  # of the browser, when the stream ends
_FULL_RETRY_MS = 10_000
_AGAIN_S = 1.0
_MAX_CONNECTIONS = MAX_VIEWERS + 40
_REQUEST_S = 10.0  # for the first request of a connection, and for each next one
_END_S = 1  # for the connections to close


def application(hub: Hub, token: Token | None, names: frozenset[str]) -> ASGIApp:
    """The page as an ASGI application.

    Args:
        hub: what the viewers see.
        token: what a request must have; None: nothing.
        names: names of this computer, next to its addresses.
    """
    routes = [
        Route(path, _file(ASSETS / name, kind), methods=["GET"])
        for path, (name, kind) in FILES.items()
    ]
    routes.append(Route("/events", _Events(hub), methods=["GET"]))
    return _Guard(Starlette(routes=routes), token, names)


async def serve(
    listener: socket.socket,
    reports: Callable[[], Iterator[Report]],
    clock: Clock,
    token: Token | None,
    names: frozenset[str],
) -> None:
    """Serve the page until a signal ends the process.

    Args:
        listener: a listening socket.
        reports: opens the reports of the service.
        clock: of this process.
        token: what a request must have; None: nothing.
        names: names of this computer, next to its addresses.
    """
    hub = Hub()
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        application(hub, token, names),
        http=_Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,  # a URL may have the token in it
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_END_S,
    )
    reader = threading.Thread(
        target=_read, args=(hub, loop, reports, clock), name="status socket", daemon=True
    )
    reader.start()
    publisher = asyncio.create_task(_publish(hub))
    try:
        await _Server(config, hub).serve([listener])
    finally:
        publisher.cancel()


async def _publish(hub: Hub) -> None:
    while True:
        hub.publish()
        await asyncio.sleep(PERIOD_S)


def _read(
    hub: Hub,
    loop: asyncio.AbstractEventLoop,
    reports: Callable[[], Iterator[Report]],
    clock: Clock,
) -> None:
    """Hand reports over to the loop until it is closed."""
    try:
        while True:
            try:
                for report in reports():
                    loop.call_soon_threadsafe(hub.receive, report)
            except LinkError as error:
                loop.call_soon_threadsafe(hub.lose, str(error))
            clock.sleep_until(clock.now_s() + _AGAIN_S)
    except RuntimeError:
        if not loop.is_closed():
            raise


class _Connection(H11Protocol):
    """A connection that is closed when it has no request in time, or when there are too many.

    Connections that send nothing would else take the place of every viewer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > 2 * _MAX_CONNECTIONS:  # up to that the answer is in words
            transport.abort()
        self._wait_for_request()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._wait_for_request()
        super().on_response_complete()

    def _wait_for_request(self) -> None:
        self.loop.call_later(_REQUEST_S, self._close_without_request, self.cycle)

    def _close_without_request(self, served: RequestResponseCycle | None) -> None:
        if self.cycle is served:
            self.transport.abort()


class _Server(uvicorn.Server):
    """Ends the streams when a signal ends the process: they never end by themselves."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGINT or SIGTERM; after the end uvicorn raises it again."""
        super().handle_exit(sig, frame)
        self._hub.closed = True


# ---------------------------------------------------------------------- requests


class _Guard:
    """Refuses requests of another host name or without the token; adds the headers."""

    def __init__(self, app: ASGIApp, token: Token | None, names: frozenset[str]) -> None:
        self._app = app
        self._token = token
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(sent: Message) -> None:
            if sent["type"] == "http.response.start":
                fixed = [(name.lower().encode(), HEADERS[name].encode()) for name in HEADERS]
                sent["headers"] = [*sent.get("headers", ()), *fixed]
            await send(sent)

        request = Request(scope)
        answer = self._refusal(request) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """A response in place of what was asked for; `None` if the request is granted."""
        if request.method != "GET":
            return PlainTextResponse("read-only: GET alone", 405, {"Allow": "GET"})
        if not is_own_host(request.headers.get("host", ""), self._names):
            return PlainTextResponse("this is not the name of this computer", 421)
        return None if self._token is None else _admission(request, self._token)


def _admission(request: Request, token: Token) -> Response | None:
    """`None` if the request has the token, else where to go or a refusal."""
    if token.equals(request.query_params.get("token", "")):
        if request.url.path != "/":
            return None
        moved = RedirectResponse("./", 303)  # without the token in the address bar
        moved.set_cookie(token.cookie_name, token.cookie, _COOKIE_S, httponly=True, samesite="lax")
        return moved
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    is_bearer = scheme.lower() == "bearer" and token.equals(bearer)
    if is_bearer or token.is_cookie(request.cookies.get(token.cookie_name, "")):
        return None
    text = "The token is missing or wrong: open this page once with ?token=... at its end."
    return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})


def _file(path: Path, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()

    async def answer(_: Request) -> Response:  # a plain function would have a thread of a pool
        return Response(content, media_type=kind)

    return answer


class _Events:
    """The stream of one viewer."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._hub.viewers >= MAX_VIEWERS:
            text = f"{MAX_VIEWERS} viewers are connected, which is the limit"
            body = f"retry: {_FULL_RETRY_MS}\n".encode()
            body += message("state", {"notice": text, "full": True})
            await send({"type": "http.response.body", "body": body})
            return
        gone = asyncio.create_task(_disconnected(receive))
        self._hub.join()
        try:
            await self._stream(gone, send)
        finally:
            self._hub.viewers -= 1
            gone.cancel()

    async def _stream(self, gone: "asyncio.Task[None]", send: Send) -> None:
        cursor = Cursor()
        start = f"retry: {_RETRY_MS}\n".encode()
        while not (gone.done() or self._hub.closed):
            piece = start + self._hub.take(cursor)
            start = b""
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._hub.change()
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
