"""`demo` and `sandbox`, which need no account."""

from __future__ import annotations

from pathlib import Path

import click

from kraken_fastkey.cli._command import DataCommand
from kraken_fastkey.cli._demo import demo
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._options import file_option
from kraken_fastkey.cli._sandbox import serve


@click.command("demo", cls=DataCommand)
@click.pass_obj
def demo_command(invocation: Invocation) -> int:
    """Show what the library does, against a sandbox."""
    return demo(as_json=invocation.as_json)


@click.command("sandbox", cls=DataCommand)
@click.option("--host", default="127.0.0.1", show_default=True, help="The loopback address to listen on.")
@click.option("--port", type=int, default=0, help="The port to listen on; any that is free, if not given.")
@click.option(
    "--token-life",
    type=float,
    default=14400,
    metavar="SECONDS",
    help="How long the token lasts; 4 hours, if not given.",
)
@file_option("--write-config", "Write a new configuration file for this sandbox, to pass with --config.")
@click.pass_obj
def sandbox_command(
    invocation: Invocation, *, host: str, port: int, token_life: float, write_config: Path | None
) -> int:
    """Run an embedded Kraken to try things out with.

    It says how to talk to it, and runs until Ctrl-C.
    """
    return serve(host=host, port=port, token_life=token_life, write_config=write_config, as_json=invocation.as_json)
