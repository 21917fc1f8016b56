"""Where keys, tokens and other texts that nobody can guess come from, and what of it is to be kept secret."""

import base64
import random


class Mint:
    """Makes texts by chance, and notes those that are secrets.

    Args:
        rng: Where chance comes from.

    Attributes:
        secrets: Every secret that has been made so far.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.secrets: set[str] = set()

    def public_text(self, size: int) -> str:
        """Return so many bytes by chance, in base64."""
        return base64.b64encode(self._rng.randbytes(size)).decode()

    def secret(self, size: int) -> str:
        """Return so many bytes by chance, in base64, to be kept secret."""
        text = self.public_text(size)
        self.secrets.add(text)
        return text

    def url_secret(self) -> str:
        """Return 33 bytes by chance, in base64url, to be kept secret."""
        text = base64.urlsafe_b64encode(self._rng.randbytes(33)).decode()
        self.secrets.add(text)
        return text
