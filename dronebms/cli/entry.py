# SPDX-License-Identifier: Apache-2.0
"""Where the installed script begins: Ctrl-C is silent from here on, before `main` is loaded.

While Python loads modules it can lose an interrupt, or wrap it in another error. The kernel ends
the process meanwhile, which is 130 in a shell.
"""

_INTERRUPTED = 130  # as `main` has it


def run() -> int:
    """Load and run the command line; its exit code."""
    # ruff: noqa: PLC0415 - loading is interrupted silently
    try:
        import signal

        before = signal.getsignal(signal.SIGINT)
        is_foreground = before is signal.default_int_handler  # else it is ignored
        if is_foreground:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        from dronebms.cli.main import main

        signal.signal(signal.SIGINT, before)
    except KeyboardInterrupt:
        return _INTERRUPTED
    try:
        return main()
    finally:  # while Python ends, the kernel ends the process silently again
        if is_foreground:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
