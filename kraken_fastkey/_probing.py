"""Does Kraken's trading side know a key that has just been made?"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import attrs

from kraken_fastkey._client import FastKeyClient
from kraken_fastkey._emitter import Emitter
from kraken_fastkey._errors import (
    ApiError,
    FastKeyError,
    InvalidRequestError,
    LeaseExpiredError,
    NonceAheadError,
    TemporaryLockoutError,
)
from kraken_fastkey._events.leases import LeaseKeyDiffers, LeaseKeyLockedOut, LeaseKeyNotProbed, LeaseKeyUnknown
from kraken_fastkey._models import CreateKeyRequest, FastApiKey
from kraken_fastkey._nonces import MemoryNonceSource
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._transport import check_base_url
from kraken_fastkey._verifying import verify_key
from kraken_fastkey._wire.private import has_code

_TIMEOUT: Final = 5.0
_TRIES: Final = 3
_YOUNG: Final = 120.0  # a key that is refused sooner may not be known yet
_BETWEEN_PROBES: Final = 5.0
_BETWEEN_KEYS: Final = (10.0, 900.0)  # where one young key after another is refused: the first wait, and the most
_CODES_OF_A_KNOWN_KEY: Final = ("eapi:invalid nonce", "egeneral:permission denied")

MAX_PROBE: Final = timedelta(seconds=25)
"""How long a probe takes at most: three tries of 5 seconds, and two pauses as long."""


@attrs.frozen(kw_only=True)
class ProbeResult:
    """What came of a probe.

    Attributes:
        known: Whether Kraken's trading side knows the key for sure.
        verified: `True` if it is what was asked for, `False` if not, `None` if there is no telling.
    """

    known: bool
    verified: bool | None = None


@attrs.frozen(kw_only=True)
class Prober:
    """Asks the trading side about new keys.

    Attributes:
        client: The client that makes the keys: the same host, the same session, if one was passed in.
        api_url: The trading API's address; `None` for the host of the client's own.
        runtime: Time and sleep.
        expected: What the keys were asked to be like.
        emitter: What tells.
        lease_id: The lease's number in what is told.
    """

    client: FastKeyClient
    api_url: str | None
    runtime: Runtime
    expected: CreateKeyRequest
    emitter: Emitter
    lease_id: int

    async def probe(self, key: FastApiKey, *, tries: int = _TRIES) -> ProbeResult:
        """Ask whether the key is known. A failure is told of, and proves nothing.

        Args:
            key: The key.
            tries: How often to ask, 5 seconds apart, while it is not known; 1 to 3.

        Raises:
            TemporaryLockoutError: Kraken has locked the key or this address out, now or within 15 minutes.
        """
        # Seconds: the least of all units, so that whoever counts another one is not left behind.
        nonces = MemoryNonceSource("s", _runtime=self.runtime)
        emit, lease_id, name = self.emitter.emit, self.lease_id, key.api_key_name
        shared = self.client._shared  # noqa: SLF001
        try:
            found = await verify_key(
                key,
                expected=self.expected,
                base_url=self.api_url or _origin_of(shared.base_url),
                session=shared.session,
                nonces=nonces,
                timeout=_TIMEOUT,
                _tries=tries,
                _emitter=self.emitter,
                _runtime=self.runtime,
            )
        except TemporaryLockoutError:
            raise
        except FastKeyError as error:
            known = _is_of_a_known_key(error)
            if not known:
                emit(LeaseKeyNotProbed, lease_id=lease_id, api_key_name=name, error_type=type(error).__name__)
            return ProbeResult(known=known)
        if found.differences:
            emit(LeaseKeyDiffers, lease_id=lease_id, api_key_name=name, differences=found.differences)
        if found.verified is None:
            emit(LeaseKeyUnknown, lease_id=lease_id, api_key_name=name)
        return ProbeResult(known=found.verified is not None, verified=found.verified)


class Probation:
    """The first two minutes of a lease's newest key, in which a refusal may only mean that it is not known yet.

    Args:
        prober: Asks about keys; `None` to ask nothing.
        runtime: Time and sleep.
    """

    def __init__(self, prober: Prober | None, runtime: Runtime) -> None:
        self._prober = prober
        self._runtime = runtime
        self.reset()

    def reset(self) -> None:
        """Begin with no key, and nothing that went before."""
        self.verified: bool | None = None
        self._began: float | None = None
        self._probed = 0.0
        self._is_known = False
        self._is_given_up = False
        self._given_up_before = 0

    def note(self, age: float) -> None:
        """Note the newest key, such as one that another lease of the store has made.

        Args:
            age: How many seconds ago it was made.
        """
        given_up = self._given_up_before + 1 if self._is_given_up else 0
        self.reset()
        self._given_up_before = given_up
        self._began = self._runtime.monotonic() - age

    async def begin(self, key: FastApiKey, *, ask: bool) -> None:
        """Note a key that has just been made; return when Kraken knows it, or has been asked often enough.

        Args:
            key: The key.
            ask: Whether to ask at all.
        """
        self.note(0.0)
        if self._prober is None or not ask:
            return
        try:
            await self._probe(self._prober, key)
        except TemporaryLockoutError:
            self._prober.emitter.emit(LeaseKeyLockedOut, lease_id=self._prober.lease_id, api_key_name=key.api_key_name)

    async def refuse(self, key: FastApiKey) -> bool:
        """Return whether a key that somebody was refused with is to be replaced.

        Raises:
            TemporaryLockoutError: Kraken has locked the key or this address out: another key would change nothing.
            LeaseExpiredError: It is, but not yet, since the keys before it were refused as young.
        """
        now = self._runtime.monotonic()
        if self._began is None:
            return True
        if not self._is_given_up:
            if now - self._began > _YOUNG:
                return True
            if self._prober is not None:
                if not self._is_known:
                    await self._runtime.sleep(max(0.0, self._probed + _BETWEEN_PROBES - now))
                # One that was known, and is not any more, has been deleted.
                if await self._probe(self._prober, key, tries=1 if self._is_known else _TRIES):
                    return False
            self._is_given_up = True
        self._check_pace(self._began)
        return True

    async def _probe(self, prober: Prober, key: FastApiKey, *, tries: int = _TRIES) -> bool:
        try:
            found = await prober.probe(key, tries=tries)
        finally:
            self._probed = self._runtime.monotonic()
        self._is_known, self.verified = found.known, found.verified
        return found.known

    def _check_pace(self, began: float) -> None:
        if not self._given_up_before:
            return
        first, most = _BETWEEN_KEYS
        wait = began + min(most, first * 2.0 ** min(self._given_up_before, 10)) - self._runtime.monotonic()
        if wait > 0:
            raise LeaseExpiredError(
                f"{self._given_up_before + 1} keys in a row were refused when they were new: see what refuses them; "
                f"the next one is made in {wait:.0f} s",
                retry_after=wait,
            )


def _is_of_a_known_key(error: FastKeyError) -> bool:
    """Whether an error is one that only a key that exists can bring about."""
    # Its bot has used it, and counts another unit; or this machine is not in its allowlist.
    return isinstance(error, NonceAheadError) or (
        isinstance(error, ApiError) and any(has_code(error, code) for code in _CODES_OF_A_KNOWN_KEY)
    )


def _origin_of(base_url: str) -> str:
    """Return a URL without its path: Kraken's trading API is on the same host as the one for keys."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"


def api_url_fault(api_url: object) -> str | None:
    """Return what is wrong with the trading API's address, if anything is."""
    if api_url is None:
        return None
    try:
        check_base_url(api_url)
    except InvalidRequestError as error:
        return error.faults["base_url"]
    return None
