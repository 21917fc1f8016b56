"""verify_key: does Kraken take a key, and is it what was asked for?"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from kraken_fastkey._emitter import Emitter
from kraken_fastkey._errors import (
    ApiError,
    AuthenticationError,
    FastKeyError,
    InvalidRequestError,
    TemporaryLockoutError,
)
from kraken_fastkey._events.client import KrakenWarned
from kraken_fastkey._events.verification import VerificationRetried
from kraken_fastkey._evidence import networks
from kraken_fastkey._models import CreateKeyRequest, FastApiKey, GeneratedName, KeyInfo, Permissions
from kraken_fastkey._nonces import MemoryNonceSource, NonceSource, find_ahead
from kraken_fastkey._observed import observe_attempt
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._signing import KeySigner
from kraken_fastkey._transport import AiohttpTransport, Timeouts, check_base_url, check_session
from kraken_fastkey._validation import MAX_UNIX, FieldError, to_unix
from kraken_fastkey._wire.answers import Answer, Success
from kraken_fastkey._wire.private import KEY_INFO_PATH, DescribedKey, get_api_key_info, has_code, read_private

if TYPE_CHECKING:
    import aiohttp

DEFAULT_API_URL: Final = "https://api.kraken.com"

_EMITTER: Final = Emitter()
_DEFAULT_TIMEOUTS: Final = Timeouts()
_MAX_TRIES: Final = 3
_SECONDS_BETWEEN: Final = 5.0
_LOCKOUT_SECONDS: Final = 15 * 60.0
_SLACK_SECONDS: Final = 300  # of a time that counts from the moment of sending, by two clocks
_UNKNOWN_KEY: Final = "eapi:invalid key"
_UNKNOWN_NONCE: Final = "eapi:invalid nonce"
_TIMES: Final = ("query_from", "query_to", "valid_until")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class KeyVerification:
    """What came of looking at a key.

    Attributes:
        verified: `True`: Kraken takes the key, and it is what was asked for. `False`: Kraken takes it, and there are
            differences. `None`: not verified, since Kraken did not know the key in any try. One just made may take
            longer than that, so this alone is no reason to delete it: verify it again later.
        differences: What is not as it was asked for, or was not told, a sentence each, the field first.
        info: The key as Kraken describes it; `None` if it was not known.
        tries: How many requests were sent, 1 to 3.
    """

    verified: bool | None
    differences: tuple[str, ...] = ()
    info: KeyInfo | None = None
    tries: int


async def verify_key(
    key: FastApiKey,
    *,
    expected: CreateKeyRequest | None = None,
    listed: KeyInfo | None = None,
    base_url: str = DEFAULT_API_URL,
    session: aiohttp.ClientSession | None = None,
    nonces: NonceSource | None = None,
    timeout: Timeouts | float = _DEFAULT_TIMEOUTS,  # noqa: ASYNC109
    _tries: int = _MAX_TRIES,
    _emitter: Emitter = _EMITTER,
    _runtime: Runtime = SYSTEM,
) -> KeyVerification:
    """Ask Kraken, with the key itself, what the key is, and compare that with what it should be.

    It takes no permission, costs one call of the key's rate limit and one nonce, and changes nothing else.

    Compared are the name, the permissions, the IP allowlist, `nonce_window`, and the times: with *expected*, where it
    is given, and with what the key itself says. What Kraken does not tell, though it was asked for, is a difference.

    Kraken may not know a key that has just been made: that is tried up to three times, 5 seconds apart. Nothing else
    is tried again.

    Args:
        key: The key, with its secret.
        expected: The request that made it. What it left out is expected to be "no restriction" and "no permission";
            its name is compared unless it was generated.
        listed: The key as `FastKeyClient.list_keys` tells it now: if Kraken finds the nonce invalid, this explains
            it.
        base_url: The trading API's address. https, or plain http to loopback.
        session: An `aiohttp.ClientSession` to use; it is never closed. Without one, one is opened and closed.
        nonces: Where the key's nonces come from: the source of all that use the key. Without one, milliseconds, and
            no nonce is remembered: that is for a key that nobody else uses yet.
        timeout: How long one request may take: by phase, or in seconds for the whole of it.

    Raises:
        InvalidRequestError: An argument is wrong; nothing was sent.
        TemporaryLockoutError: Kraken has locked the key or this address out. For 15 minutes, further calls for the
            key are refused here, and send nothing.
        NonceAheadError: Kraken found the nonce invalid, and *listed*, or the key, shows why.
        AuthenticationError: The key's secret is wrong.
        PermissionDeniedError: This address is not in the key's allowlist.
        StoreError: The nonce source failed.
        FastKeyError: As for `FastKeyClient`: the network, the answer, or Kraken.
    """
    faults: dict[str, str] = {}
    for name, value, kind in (("expected", expected, CreateKeyRequest), ("listed", listed, KeyInfo)):
        if value is not None and not isinstance(value, kind):
            faults[name] = f"must be a {kind.__name__}, not {type(value).__name__}"
    nonces = MemoryNonceSource("ms", _runtime=_runtime) if nonces is None else nonces
    signer = timeouts = None
    for check, argument in ((check_base_url, base_url), (check_session, session)):
        try:
            check(argument)
        except InvalidRequestError as error:
            faults |= error.faults
    try:
        signer = KeySigner(key, nonces)
    except InvalidRequestError as error:
        faults |= error.faults
    try:
        timeouts = timeout if isinstance(timeout, Timeouts) else Timeouts(total=timeout)
    except InvalidRequestError:
        faults["timeout"] = "must be a Timeouts, or seconds, more than 0"
    if faults or signer is None or timeouts is None:
        del key, expected, listed, base_url, session, nonces, value, argument  # they may be a secret, or hold one
        raise InvalidRequestError(faults, operation="verify_key")
    transport = AiohttpTransport(base_url, session, timeouts)
    try:
        verification = _Verification(key, signer, transport, base_url, listed, _emitter, _runtime)
        return await verification.run(expected, _tries)
    finally:
        await transport.aclose()


class _Verification:
    """One call of `verify_key`, whose arguments have been checked."""

    def __init__(
        self,
        key: FastApiKey,
        signer: KeySigner,
        transport: AiohttpTransport,
        base_url: str,
        listed: KeyInfo | None,
        emitter: Emitter,
        runtime: Runtime,
    ) -> None:
        self._key = key
        self._signer = signer
        self._transport = transport
        self._listed = listed
        self._emitter = emitter
        self._runtime = runtime
        self._place = (base_url.rstrip("/"), key.api_key)

    async def run(self, expected: CreateKeyRequest | None, tries: int) -> KeyVerification:
        """Ask until Kraken knows the key, or has not known it so many times."""
        for tried in range(1, tries + 1):
            answer = await self._ask(tried)
            if isinstance(answer, Success):
                if answer.warnings:
                    self._emitter.emit(KrakenWarned, operation="verify_key", codes=answer.warnings)
                found = _differences(answer.value, self._key, expected, self._runtime.time())
                return KeyVerification(verified=not found, differences=found, info=answer.value.info, tries=tried)
            if not isinstance(answer, AuthenticationError) or not has_code(answer, _UNKNOWN_KEY):
                raise answer
            if tried < tries:
                wait = _SECONDS_BETWEEN
                self._emitter.emit(VerificationRetried, operation="verify_key", attempt=tried, wait_seconds=wait)
                await self._runtime.sleep(_SECONDS_BETWEEN)
        return KeyVerification(verified=None, tries=tries)

    async def _ask(self, tried: int) -> Answer[DescribedKey]:
        """Send one request, and return its answer, complete with what the call has been through."""
        locked = _lockout_of(self._place, self._runtime.monotonic())
        if locked is not None:
            locked.attempts = tried - 1
            return locked
        is_probe = self._place in _locked_until
        answer: Answer[DescribedKey]
        is_locked_out = False
        try:
            signed = await self._signer.sign(KEY_INFO_PATH)
            call = get_api_key_info(signed.body, self._key.api_key_name)
            secret_headers = {
                name: SecretStr(value) for name, value in signed.headers.items() if name != "Content-Type"
            }
            url = self._place[0] + call.request.path
            with observe_attempt(self._emitter, self._runtime, "verify_key", tried, call.request.method, url) as report:
                try:
                    with self._runtime.working():
                        response = await self._transport.send(call.request, secret_headers, None)
                except BaseException as error:
                    report.fail(error, error.outcome if isinstance(error, FastKeyError) else "unknown")
                    raise
                report.status, report.version = response.status, response.version
                answer = read_private(call, response, self._runtime.time())
                if isinstance(answer, FastKeyError):
                    report.fail(answer, answer.outcome)
            is_locked_out = isinstance(answer, TemporaryLockoutError)
            if isinstance(answer, ApiError) and has_code(answer, _UNKNOWN_NONCE):
                answer = self._explained(answer, signed.nonce)
        except FastKeyError as error:
            answer = error
        finally:
            if is_locked_out:
                _lock_out(self._place, self._runtime.monotonic())
            elif is_probe:  # one that was under way before the lockout proves nothing
                _locked_until.pop(self._place, None)
        if isinstance(answer, FastKeyError):
            answer.operation = "verify_key"
            answer.attempts = tried
        return answer

    def _explained(self, error: ApiError, nonce: int) -> FastKeyError:
        """Return the error for a nonce that was refused."""
        for info in (self._listed, self._key):
            if info is None:
                continue
            reason = find_ahead(info, nonce, self._signer.nonces, self._runtime.time())
            if reason is not None:
                reason.outcome, reason.status, reason.codes = error.outcome, error.status, error.codes
                return reason
        return error


_locked_until: Final[dict[tuple[str, str], float]] = {}


def _lockout_of(place: tuple[str, str], now: float) -> TemporaryLockoutError | None:
    """Return why nothing may be sent now; after the lockout, one request may be, to see whether it is over."""
    until = _locked_until.get(place)
    if until is None:
        return None
    if until > now:
        return TemporaryLockoutError(
            f"Kraken has locked the key or this address out. Nothing is sent for {until - now:.0f} s: "
            "each request would prolong it",
            operation="verify_key",
            outcome="not_sent",
            retry_after=until - now,
        )
    _locked_until[place] = now + _LOCKOUT_SECONDS
    return None


def _lock_out(place: tuple[str, str], now: float) -> None:
    for other in [other for other, until in _locked_until.items() if until <= now]:
        del _locked_until[other]
    _locked_until[place] = now + _LOCKOUT_SECONDS


@attrs.frozen
class _Moment:
    """A time that was asked for, in Unix seconds, 0 for no restriction; give or take the slack."""

    seconds: int
    slack: int = 0

    def is_met_by(self, other: int) -> bool:
        return abs(self.seconds - other) <= (self.slack if self.seconds and other else 0)


def _differences(
    described: DescribedKey, key: FastApiKey, expected: CreateKeyRequest | None, now: float
) -> tuple[str, ...]:
    """Return what is not as it should be: as the request asked for it, or else as the key was made."""
    info = described.info
    found: list[str] = []
    if info.api_key is not None and info.api_key != key.api_key:
        found.append("api_key: Kraken describes another key")
    wishes = [("was asked for", _of_request(expected, key, info, now)), ("the key was made with", _of_key(key))]
    for field in ("api_key_name", "permissions", "ip_allowlist", "nonce_window", *_TIMES):
        for origin, wish in wishes:
            if field not in wish:
                continue
            if field not in described.told:
                found.append(f"{field}: Kraken does not tell it, or in a way that we do not know")
                break
            told = _of_info(info, field)
            if not _is_met(wish[field], told):
                found.append(_tell(field, told, wish[field], origin))
                break
    return tuple(found)


def _of_info(info: KeyInfo, field: str) -> Any:
    value = getattr(info, field)
    if field in _TIMES:
        return _seconds(value)
    if field == "permissions":
        return value.granted
    return networks(value) if field == "ip_allowlist" else value


def _of_key(key: FastApiKey) -> dict[str, Any]:
    """Return what Kraken said when it made the key. A time that is `None` there may not have been told."""
    wish: dict[str, Any] = {
        field: _Moment(_seconds(getattr(key, field))) for field in _TIMES if getattr(key, field) is not None
    }
    wish["api_key_name"] = key.api_key_name
    if key.permissions is not None:
        wish["permissions"] = key.permissions.granted
    if key.ip_allowlist is not None:
        wish["ip_allowlist"] = networks(key.ip_allowlist)
    if key.nonce_window is not None:
        wish["nonce_window"] = key.nonce_window
    return wish


def _of_request(expected: CreateKeyRequest | None, key: FastApiKey, info: KeyInfo, now: float) -> dict[str, Any]:
    if expected is None:
        return {}
    wish: dict[str, Any] = {
        "permissions": (expected.permissions or Permissions()).granted,
        "ip_allowlist": networks(expected.ip_allowlist),
    }
    if not isinstance(expected.api_key_name, GeneratedName):
        wish["api_key_name"] = expected.api_key_name
    if expected.nonce_window is not None:
        wish["nonce_window"] = expected.nonce_window
    made = key.created_time or info.created_time
    sent = now if made is None else made.timestamp()
    for field in _TIMES:
        asked = getattr(expected, field)
        if isinstance(asked, timedelta):
            wish[field] = _Moment(_after(asked, sent, now), _SLACK_SECONDS)
        else:
            wish[field] = _Moment(to_unix(asked or 0, now))
    return wish


def _after(span: timedelta, sent: float, now: float) -> int:
    """Return the end of a span that began when a request was sent, in Unix seconds."""
    for began in (sent, now):
        with contextlib.suppress(FieldError):  # Kraken may tell any time
            return to_unix(span, began)
    return MAX_UNIX


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else (moment - _EPOCH) // timedelta(seconds=1)


def _is_met(wish: Any, told: Any) -> bool:
    return wish.is_met_by(told) if isinstance(wish, _Moment) else bool(wish == told)


def _tell(field: str, told: Any, wish: Any, origin: str) -> str:
    if isinstance(wish, frozenset):
        # What Kraken says may be anything, and this is for logs.
        more, less = (", ".join(ascii(name)[1:-1] for name in sorted(names)) for names in (told - wish, wish - told))
        parts = [f"{word} {names:.500}" for word, names in (("also", more), ("not", less)) if names]
        return f"{field}: Kraken has {' and '.join(parts)}, against what {origin}"
    return f"{field}: Kraken has {_show(field, told)}, and {_show(field, wish)} is what {origin}"


def _show(field: str, value: Any) -> str:
    if field not in _TIMES:
        return f"{value!r:.80}"
    seconds = value.seconds if isinstance(value, _Moment) else value
    return (_EPOCH + timedelta(seconds=seconds)).isoformat() if seconds else "no restriction"
