"""The stand-ins of the tutorial's test, each in a process of its own.

`run PROGRAM` runs a program of the tutorial, and lets its time pass at once. `allow URL` is the user and their browser:
it opens the page that asks, and presses Allow.
"""

from __future__ import annotations

import asyncio
import re
import runpy
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin
from urllib.request import urlopen

import virtual_time

from kraken_fastkey import FastKeyClient

_T = TypeVar("_T")


class _Loop(virtual_time.VirtualTimeLoop):
    """A loop whose clock is right when it begins, and jumps on from there.

    The sandbox is another process, and may take its time for an answer: no timeout is jumped to before that.
    """

    _began = time.time()

    def __init__(self) -> None:
        # ccxt's throttle polls each millisecond.
        super().__init__(quiet=lambda seconds: 0 if seconds < 0.1 else 0.05 if seconds < 4 else 1.0)

    def wall_clock(self) -> float:
        """Return the time in Unix seconds."""
        return self._began + self.time()


def _run(main: Coroutine[Any, Any, _T]) -> _T:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, _Loop)
        defaults = FastKeyClient.__init__.__kwdefaults__
        assert defaults is not None
        assert "_runtime" in defaults
        defaults["_runtime"] = loop.runtime()
        return runner.run(main)


def _allow(url: str) -> None:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  # of the sandbox, on loopback
        page = answer.read().decode()
    action = re.search(r'<form[^>]* action="([^"]*)"', page)
    token = re.search(r'name="csrf_token"[^>]* value="([^"]*)"', page) or re.search(
        r'value="([^"]*)"[^>]* name="csrf_token"', page
    )
    assert action is not None
    assert token is not None
    form = urlencode({"csrf_token": token[1], "decision": "allow"}).encode()
    with urlopen(urljoin(url, action[1]), form, timeout=10) as answer:  # noqa: S310  # likewise
        assert "You are logged in" in answer.read().decode()


if __name__ == "__main__":
    command, argument = sys.argv[1:]
    if command == "allow":
        _allow(argument)
    else:
        asyncio.run = _run  # type: ignore[assignment]
        program = Path(argument).resolve()
        sys.path.insert(0, str(program.parent))
        runpy.run_path(str(program), run_name="__main__")
