"""How a key has been used so far: since when it exists, and which nonces are spent. Pure rules: no HTTP, no clock."""

import attrs

from kraken_fastkey.sandbox._refusal import INVALID_NONCE, RefusalError
from kraken_fastkey.sandbox._validation import Number


@attrs.define
class Usage:
    """What nobody is told of a key.

    Attributes:
        born: When it was created, in Unix seconds with their fraction, which ``created_time`` has not.
        spent: The nonces that it has used.
    """

    born: float
    spent: set[int] = attrs.field(factory=set[int])

    def use_up(self, nonce: int, highest: int, window: Number) -> None:
        """Spend a nonce.

        Args:
            nonce: The nonce.
            highest: The highest that was spent so far, 0 if none was.
            window: How many nonces, counted down from the highest, may still come.

        Raises:
            RefusalError: if it comes too late, or has been spent.
        """
        # Compared as a difference of integers: a float would lose digits of a 64-bit nonce.
        if nonce in self.spent or (nonce <= highest and highest - nonce >= window):
            raise RefusalError(INVALID_NONCE)
        self.spent.add(nonce)
