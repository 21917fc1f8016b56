"""The command line: `python -m kraken_fastkey demo` and `python -m kraken_fastkey sandbox`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence

import kraken_fastkey
from kraken_fastkey.cli._demo import run_demo
from kraken_fastkey.cli._sandbox import run_sandbox

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status: 0 if it did what it is for."""
    arguments = _make_parser().parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.command == "demo":
            return asyncio.run(run_demo())
        return asyncio.run(run_sandbox(host=arguments.host, port=arguments.port, token_life=arguments.token_life))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kraken_fastkey", description="Fast API keys of Kraken Connect, tried out on your own machine."
    )
    parser.add_argument("--version", action="version", version=f"kraken-fastkey {kraken_fastkey.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("demo", help="create, list, update and delete keys in a sandbox, and survive its faults")
    sandbox = commands.add_parser("sandbox", help="run the sandbox until it is interrupted")
    sandbox.add_argument("--host", default="127.0.0.1", help="the loopback address to listen on (default: %(default)s)")
    sandbox.add_argument("--port", type=int, default=0, help="the port to listen on (default: any that is free)")
    sandbox.add_argument(
        "--token-life", type=float, default=14400, metavar="SECONDS", help="how long the token lasts (default: 4 hours)"
    )
    return parser
