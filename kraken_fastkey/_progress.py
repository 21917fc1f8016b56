"""What one call has been through so far."""

from __future__ import annotations

import attrs

from kraken_fastkey._errors import FastKeyError, Outcome
from kraken_fastkey._secret import SecretStr


@attrs.define(eq=False, repr=False)
class Progress:
    """What one call has been through so far.

    Attributes:
        started: When it began, in seconds of the monotonic clock.
        cleaning: Whether it clears up after another call: then it goes on while the client closes.
        once: Whether it is tried just once.
        attempts: How many times it tried to send its request.
        counted: How many of them the retry policy counts: those that a token was refused for are not.
        departed: Whether a request has left whose answer has not been read.
        in_doubt: Whether one of them may have been carried out.
        rejected: The values of the tokens that were refused.
        abandoned: Whether nobody waits for it any more.
        status: The HTTP status of the last answer.
        version: HTTP's version of the last answer.
        error: Why the last one failed.
        outcome: What the last one did at Kraken.
    """

    started: float
    cleaning: bool = attrs.field(default=False, kw_only=True)
    once: bool = False
    attempts: int = 0
    counted: int = 0
    departed: bool = False
    in_doubt: bool = False
    abandoned: bool = False
    rejected: frozenset[SecretStr] = frozenset()
    status: int | None = None
    version: tuple[int, int] | None = None
    error: FastKeyError | None = None
    outcome: Outcome = "not_sent"

    @property
    def exposed(self) -> bool:
        """Whether something may have been done, or be done yet, at Kraken."""
        return self.departed or self.in_doubt

    def depart(self) -> None:
        """Note that a request leaves.

        Raises:
            ConnectionAbortedError: It must not, since nobody waits for it any more, and nothing is to be set right.
        """
        # A caller may go away between aiohttp's taking up a request and its writing it.
        if self.abandoned and not self.exposed:
            raise ConnectionAbortedError("not sent: nobody waits for it any more")
        self.departed = True
