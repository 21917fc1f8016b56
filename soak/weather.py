"""What goes wrong in the soak: every fault of the sandbox, weighted, and a weather that changes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from typing import Final

from kraken_fastkey.sandbox import FAULTS, Disconnect, Fault, Hang, KrakenSandbox, LateCommit, OneOf, Reset, Truncate

__all__ = ["Tally", "Weather", "fault_mix"]

_OPERATIONS: Final = ("create_key", "update_key", "delete_key", "list_keys")
_HEAVY: Final = ("nested", "oversized")
# Each locks the account out for a quarter of an hour, so the weather brings it, and not chance.
_LOCKOUT: Final = "error_temporary_lockout"
# By Kraken's description they say that it was done, whether it was or not: a client cannot but believe it.
_LIES: Final = tuple(f"{name}{end}" for name in ("error_empty_list", "empty_object") for end in ("", "_committed"))
_BELIEVED: Final = ("update_key", "delete_key")
_HARD_REFUSALS: Final = ("403_cloudflare", "error_permission_denied", "error_invalid_arguments", "error_several")

LAG: Final = 45.0
"""How far the list is behind, at times."""

LATE: Final = (0.5, 2.0, 5.0, 15.0, 30.0)
LATE_WHILE_LAGGING: Final = (0.5, 2.0, 5.0, 10.0)
"""With the lag it adds up to less than the minute for which the client looks for a key of the caller's own name."""


def _groups(operation: str) -> dict[str, tuple[float, list[Fault]]]:
    """Return the faults of each kind, and the kind's weight."""
    left_out = {_LOCKOUT, *(_LIES if operation in _BELIEVED else ())}
    named = {
        name: fault
        for name, fault in FAULTS.items()
        if name not in left_out and not isinstance(fault, (LateCommit, OneOf))
    }
    kinds: dict[str, tuple[float, list[Fault]]] = {
        "refused for now": (18, []),
        "refused": (4, []),
        "heavy": (0.5, []),
        "failed": (22, []),
        "failed, done": (30, []),
        "dropped": (5, []),
        "dropped, done": (12, []),
        "hangs": (3, []),
    }
    for name, fault in named.items():
        if isinstance(fault, Hang):
            kind = "hangs"
        elif isinstance(fault, (Disconnect, Reset, Truncate)):
            kind = "dropped, done" if fault.commit else "dropped"
        elif name.removesuffix("_committed") in _HEAVY:
            kind = "heavy"
        elif name in _HARD_REFUSALS or name.startswith("redirect"):
            kind = "refused"
        elif name.startswith("429") or name in {"error_rate_limit", "error_too_many_requests"}:
            kind = "refused for now"
        else:
            kind = "failed, done" if name.endswith("_committed") or fault.commit else "failed"
        kinds[kind][1].append(fault)
    return kinds


def fault_mix(operation: str, late: tuple[float, ...] = LATE) -> OneOf:
    """Return what may go wrong with an operation.

    Args:
        operation: Which one. Only creates are carried out late: a delete that comes late would delete whatever has
            the name by then, and no client could prevent it.
        late: By how many seconds.
    """
    faults: list[Fault] = []
    weights: list[float] = []
    for weight, group in _groups(operation).values():
        faults += group
        weights += [weight / len(group)] * len(group)
    if operation == "create_key":
        tardy: list[Fault] = [LateCommit(delay) for delay in late]
        tardy += [LateCommit(delay, Disconnect()) for delay in late]
        faults += tardy
        weights += [8 / len(tardy)] * len(tardy)
    return OneOf(faults, weights)


class Tally:
    """Counts the requests that came in, and what became of them, and forgets them.

    Attributes:
        requests: How many there were, by operation.
        faults: How many met a fault, by its class.
        histories: What happened to a name, in order.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.histories: defaultdict[str, list[str]] = defaultdict(list)

    def take(self, sandbox: KrakenSandbox) -> None:
        """Count what the log has, and clear it."""
        for request in sandbox.requests:
            self.requests[request.operation or "?"] += 1
            if request.fault is not None:
                self.faults[type(request.fault).__name__] += 1
            body = request.json or {}
            for field in ("api_key_name", "new_api_key_name"):
                if field in body:
                    self.histories[body[field]].append(f"{request.operation} {request.fault!r:.90}")
        sandbox.requests.clear()


class Weather:
    """Lets one thing after another go wrong, from a seed, until it is stopped.

    Args:
        sandbox: Where.
        seed: Any number.
        share: How many of the requests meet a fault, 0 to 1.
        lockouts: Whether the account is locked out now and then.
    """

    def __init__(self, sandbox: KrakenSandbox, seed: int, share: float, *, lockouts: bool = True) -> None:
        self.tally = Tally()
        self._sandbox = sandbox
        self._rng = random.Random(seed)
        self._share = share
        self._lockouts = lockouts
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let it blow."""
        self._set(LATE)
        self._task = asyncio.get_running_loop().create_task(self._blow())

    async def stop(self) -> None:
        """Let it be calm; what was sent meanwhile may still be carried out late."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None
        self._sandbox.faults.clear()
        self._sandbox.list_lag = 0
        self.tally.take(self._sandbox)

    async def _blow(self) -> None:
        while True:
            await self._last(self._rng.uniform(40, 90))
            await self._out_of_reach()
            await self._last(self._rng.uniform(20, 60))
            self._sandbox.expire_access_tokens()
            # What is late by more must have come before the list lags behind.
            self._set(LATE_WHILE_LAGGING)
            await self._last(max(LATE))
            self._sandbox.list_lag = LAG
            await self._last(self._rng.uniform(60, 120))
            self._sandbox.expire_access_tokens()
            await self._last(self._rng.uniform(10, 60))
            self._sandbox.list_lag = 0
            self._set(LATE)
            if self._lockouts and self._rng.random() < 0.3:
                self._sandbox.faults.clear()
                self._sandbox.faults.add(FAULTS[_LOCKOUT])
                await self._last(2)
                self._set(LATE)

    def _set(self, late: tuple[float, ...]) -> None:
        self._sandbox.faults.clear()
        for operation in _OPERATIONS:
            mix = fault_mix(operation, late)
            self._sandbox.faults.add(mix, operation=operation, probability=self._share, times=None)

    async def _last(self, seconds: float) -> None:
        """Let it stay as it is for a while, and keep the log short."""
        await asyncio.sleep(seconds)
        self.tally.take(self._sandbox)

    async def _out_of_reach(self) -> None:
        async with self._sandbox.unreachable():
            await asyncio.sleep(self._rng.uniform(0.5, 8))
