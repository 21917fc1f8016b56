"""The standard output, once it cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys


def give_up_stdout() -> None:
    """Let what is left to print go nowhere, so that Python does not fail once more, when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
