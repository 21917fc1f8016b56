"""Whose turn it is: so many may go at once, and of those who wait, each party has its turn, however many it has sent.

aiohttp's pool hands a connection that becomes free to whoever asks first: tasks that ask again and again can keep
the others waiting for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """A number of places, and the parties that wait for one.

    Args:
        places: How many may go at once; `math.inf` for any number.
    """

    __slots__ = ("_free", "_queues")

    def __init__(self, places: float) -> None:
        self._free = places  # more than none only while nobody waits
        self._queues: dict[object, deque[asyncio.Future[None]]] = {}

    def take_at_once(self) -> bool:
        """Take a place, if there is one; `give_back` follows."""
        if self._free < 1:
            return False
        self._free -= 1
        return True

    async def take(self, party: object) -> None:
        """Wait for a place, and take it; `give_back` follows."""
        if self.take_at_once():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(party, deque()).append(turn)
        try:
            await turn
        except BaseException:
            # A turn that was given up before it came is passed over.
            if turn.done() and not turn.cancelled():
                self.give_back()
            turn.cancel()
            raise

    def give_back(self) -> None:
        """Give a place to the next in turn, or leave it free."""
        while self._queues:
            party = next(iter(self._queues))
            queue = self._queues.pop(party)
            turn = queue.popleft()
            if queue:
                self._queues[party] = queue  # behind all other parties
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
