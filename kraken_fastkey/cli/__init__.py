"""The command line: `kraken-fastkey`, and `python -m kraken_fastkey`, which is the same."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

_NEEDED: Final = ("click", "platformdirs", "rich")  # the extra `cli`


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code: 0 if it did what it is for.

    Args:
        argv: The command and its arguments; `None` for those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if all(map(_is_installed, _NEEDED)):
        from kraken_fastkey.cli._app import run  # noqa: PLC0415  # an extra

        return run(arguments)
    from kraken_fastkey.cli._bare import run_bare  # noqa: PLC0415  # what the core alone can do

    return run_bare(arguments)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False
