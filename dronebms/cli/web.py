# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms web`: the status of a running service as a live page, read-only."""

import argparse
import asyncio
from functools import partial

from dronebms.cli.exit_codes import DONE, print_stderr
from dronebms.core.clock import SystemClock
from dronebms.core.optional import needed_by
from dronebms.telemetry.status_socket import read_status
from dronebms.web.access import listen, own_names, page_hosts, read_token


def web(options: argparse.Namespace) -> int:
    """Serve the page until SIGTERM or Ctrl-C, with or without a service.

    Raises:
        ConfigError: the extra is missing, or an address or a token that cannot be used.
    """
    with needed_by("web needs", "web"):
        from dronebms.web.server import serve  # noqa: PLC0415 - of the extra
    notices: list[str] = []
    token = None if options.token is None else read_token(options.token, notices.append)
    host, port = options.listen
    with listen(host, port, token) as listener:
        bound = listener.getsockname()[1]
        hint = "" if token is None else "?token=..."
        places = " or ".join(f"http://{shown}:{bound}/{hint}" for shown in page_hosts(listener))
        print_stderr(f"page at {places}, Ctrl-C ends it")
        for notice in notices:
            print_stderr(notice)
        clock = SystemClock()
        reports = partial(read_status, options.socket, clock)
        asyncio.run(serve(listener, reports, clock, token, own_names(host)))
    return DONE
