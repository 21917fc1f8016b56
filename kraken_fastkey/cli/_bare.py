"""The command line where the extra `cli` is not installed: `demo` and `sandbox`, which need the core alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import kraken_fastkey

_COMMANDS = ("demo", "sandbox")


def run_bare(arguments: Sequence[str]) -> int:
    """Run one of the two commands, and return its exit code; of any other, say what to install."""
    parser = argparse.ArgumentParser(
        prog="python -m kraken_fastkey",
        description="All other commands need an extra: pip install 'kraken-fastkey[cli]'",
    )
    parser.add_argument("--version", action="version", version=f"kraken-fastkey {kraken_fastkey.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("demo", help="create, list, update and delete keys in a sandbox, and survive its faults")
    sandbox = commands.add_parser("sandbox", help="run the sandbox until it is interrupted")
    sandbox.add_argument("--host", default="127.0.0.1")
    sandbox.add_argument("--port", type=int, default=0)
    sandbox.add_argument("--token-life", type=float, default=14400)
    sandbox.add_argument("--write-config")
    if not arguments or (arguments[0] not in _COMMANDS and not arguments[0].startswith("-")):
        print("error: this needs an extra: pip install 'kraken-fastkey[cli]'", file=sys.stderr)
        return 2
    try:
        options = vars(parser.parse_args(arguments))
    except SystemExit as ended:  # argparse's way to say that the help was shown, or the usage is wrong
        return ended.code if isinstance(ended.code, int) else 2
    if options.pop("command") == "demo":
        from kraken_fastkey.cli._demo import demo  # noqa: PLC0415  # which of the two is not known before

        return demo()
    from kraken_fastkey.cli._sandbox import serve  # noqa: PLC0415

    return serve(**options)
