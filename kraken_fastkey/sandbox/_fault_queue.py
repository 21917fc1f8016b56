"""The queue of what shall go wrong: by route, by count, by chance, by script."""

import random
import threading
from collections.abc import Iterable

import attrs

from kraken_fastkey.sandbox._faults import Fault, OneOf, PlainFault, check_step
from kraken_fastkey.sandbox._routes import OPERATIONS


@attrs.frozen
class PendingFault:
    """A fault that waits for its requests.

    Attributes:
        fault: What will happen; ``None``: nothing, which is a step of a script.
        operation: Whose requests it waits for; ``None``: any operation's.
        times: To how many requests it still happens, 1 or more; ``None``: to any number.
        probability: How likely it happens to a request that it could happen to, 0 to 1.
    """

    fault: Fault | None
    operation: str | None
    times: int | None
    probability: float = 1


class Faults:
    """The faults that are still to happen, first in, first out.

    Args:
        seed: Makes chance the same in each run; ``None``: the system's entropy makes it.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._pending: list[PendingFault] = []
        # The sandbox may run in another thread than the test that adds to it.
        self._lock = threading.Lock()
        self.seed(seed)

    @property
    def pending(self) -> tuple[PendingFault, ...]:
        """What has been added and has not happened yet, in order; empty when all has happened.

        What happens any number of times stays until `clear` is called.
        """
        with self._lock:
            return tuple(self._pending)

    def add(self, fault: Fault, *, operation: str | None = None, times: int | None = 1, probability: float = 1) -> None:
        """Let a fault happen to the next requests that match.

        Each request takes the first pending fault that matches it, when it arrives and before its token or its
        signature is looked at. Where a fault has a probability, it is decided by chance whether it happens to this
        request; if it does not, the next pending fault that matches has its turn. Requests that are no operation (an
        unknown path, ``/openapi.json``) take none.

        Args:
            fault: What shall happen; a `OneOf` draws it.
            operation: ``"create_key"``, ``"update_key"``, ``"delete_key"``, ``"list_keys"``,
                ``"get_user_info"``, ``"token"``, ``"authorize"``; at the trading API ``"get_api_key_info"``,
                ``"balance"``, ``"balance_ex"``, ``"ledgers"``, ``"get_websockets_token"``, ``"time"``,
                ``"assets"``, ``"asset_pairs"``; or ``None`` for any of them.
            times: To how many requests it happens, 1 or more; ``None``: to any number, until `clear`.
            probability: How likely it happens to a request that matches, 0 to 1.

        Raises:
            ValueError: if there is no such operation, ``times`` is less than 1, or ``probability`` is not from
                0 to 1.
            TypeError: if ``fault`` is none.
        """
        if fault is None:
            raise TypeError("None is a step of a script, and no fault")
        if times is not None and times < 1:
            raise ValueError("times must be 1 or more, or None")
        if not 0 <= probability <= 1:
            raise ValueError("probability must be 0 to 1")
        _check_operation(operation)
        check_step(fault)
        with self._lock:
            self._pending.append(PendingFault(fault, operation, times, probability))

    def script(self, operation: str | None, steps: Iterable[Fault | None]) -> None:
        """Let the next requests of an operation meet these steps in turn, one each.

        The steps line up behind what is pending already. A step that is ``None`` is pending, too, until a
        request has met it.

        Args:
            operation: As for `add`.
            steps: What happens to each request; ``None``: nothing goes wrong.

        Raises:
            ValueError: if there is no such operation.
            TypeError: if a step is neither a fault nor ``None``.
        """
        _check_operation(operation)
        played = [PendingFault(step, operation, 1) for step in steps]
        for step in played:
            check_step(step.fault)
        with self._lock:
            self._pending += played

    def seed(self, seed: int | None) -> None:
        """Begin chance anew; the same seed and the same requests meet the same faults.

        Args:
            seed: Any number; ``None``: the system's entropy.
        """
        self._rng = random.Random(seed)  # noqa: S311 (no secret comes from it)

    def clear(self) -> None:
        """Forget what is pending. A request that already hangs goes on hanging."""
        with self._lock:
            self._pending.clear()

    def take(self, operation: str) -> PlainFault | None:
        """Return what happens to a request that arrives now; the sandbox asks once for each."""
        with self._lock:
            for index, pending in enumerate(self._pending):
                if pending.operation in (None, operation) and self._happens(pending):
                    self._count(index, pending)
                    return pending.fault.draw(self._rng) if isinstance(pending.fault, OneOf) else pending.fault
        return None

    def _happens(self, pending: PendingFault) -> bool:
        return pending.probability == 1 or self._rng.random() < pending.probability

    def _count(self, index: int, pending: PendingFault) -> None:
        if pending.times == 1:
            del self._pending[index]
        elif pending.times is not None:
            self._pending[index] = attrs.evolve(pending, times=pending.times - 1)


def _check_operation(operation: str | None) -> None:
    if operation is not None and operation not in OPERATIONS:
        raise ValueError(f"no operation {operation!r}; there are {', '.join(sorted(OPERATIONS))}")
