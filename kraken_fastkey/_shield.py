"""Closing in a cancelled scope of anyio's."""

from __future__ import annotations

import contextlib
import sys
from contextlib import AbstractContextManager


def shield() -> AbstractContextManager[object]:
    """Keep a cancelled scope of anyio's from what is done within: what closes must not be cut off.

    asyncio cancels a task once, and its next await, which closes, goes through. In a cancelled scope, anyio cancels
    each await anew, so that nothing would ever be waited for. A task's own `cancel()` gets through as always.
    """
    # Who has not imported anyio has no scope of it.
    anyio = sys.modules.get("anyio")
    scope: AbstractContextManager[object] = (
        contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)
    )
    return scope
