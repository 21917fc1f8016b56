"""The trading API, as far as a key needs it to be tried: who signs, and what is answered. No I/O."""

import base64
import ipaddress
import math
import random
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final

from kraken_fastkey.sandbox._account import Account, SandboxKey, digits
from kraken_fastkey.sandbox._funds import Funds
from kraken_fastkey.sandbox._history import ListHistory
from kraken_fastkey.sandbox._lockout import Lockout
from kraken_fastkey.sandbox._messages import Call, Reply, json_reply
from kraken_fastkey.sandbox._refusal import (
    INVALID_KEY,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    PERMISSION_DENIED,
    RefusalError,
)
from kraken_fastkey.sandbox._scopes import PERMISSIONS, spelt_by_key_info
from kraken_fastkey.sandbox._signing import is_signed, nonce_of
from kraken_fastkey.sandbox._usage import Usage

# Kraken wants "WebSocket interface - On" for GetWebSocketsToken, which no Fast API key can be given: none is needed.
_REQUIRED: Final[Mapping[str, str]] = {
    "balance": "funds_query",
    "balance_ex": "funds_query",
    "ledgers": "ledger_query",
}

_GUESSES: Final = {INVALID_KEY, INVALID_SIGNATURE, INVALID_NONCE}
# Within which a WebSocket must be opened with a token.
_TOKEN_SECONDS: Final = 900


def refused(*codes: str) -> Reply:
    """Return an error in the trading API's shape, whose status is 200 always."""
    return json_reply(200, {"error": list(codes), "result": {}})


class TradingApi:
    """The calls that a key signs, and the public ones.

    Args:
        account: The keys.
        clock: Gives the time in Unix seconds.
        rng: Where WebSocket tokens come from.
        history: What the list of keys shows, which tells of the last use of each.
        iban: The account's IIBAN.
        funds: What the account holds.
        lockout: Who is kept out.
        propagation_delay: For how many seconds a new key is not known yet.

    Raises:
        ValueError: if ``propagation_delay`` is negative or not finite.
    """

    def __init__(
        self,
        account: Account,
        clock: Callable[[], float],
        rng: random.Random,
        history: ListHistory,
        iban: str,
        funds: Funds,
        lockout: Lockout,
        propagation_delay: float,
    ) -> None:
        self._account = account
        self._clock = clock
        self._rng = rng
        self._history = history
        self._iban = iban
        self._funds = funds
        self._lockout = lockout
        self.propagation_delay = propagation_delay
        self._public: Mapping[str, Callable[[], dict[str, object]]] = {
            "time": self._time,
            "assets": funds.assets,
            "asset_pairs": funds.pairs,
        }
        self._private: Mapping[str, Callable[[SandboxKey], dict[str, object]]] = {
            "get_api_key_info": self._describe,
            "balance": lambda _: funds.plain(),
            "balance_ex": lambda _: funds.extended(),
            "ledgers": lambda key: funds.ledger(key.query_from, key.query_to),
            "get_websockets_token": self._new_token,
        }

    @property
    def propagation_delay(self) -> float:
        return self._propagation_delay

    @propagation_delay.setter
    def propagation_delay(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            raise ValueError("propagation_delay must be 0 seconds or more")
        self._propagation_delay = seconds

    def answer(self, call: Call) -> Reply:
        try:
            return json_reply(200, {"error": [], "result": self._result(call)})
        except RefusalError as refusal:
            return refused(*refusal.codes)

    def _result(self, call: Call) -> dict[str, object]:
        if call.operation in self._public:
            return self._public[call.operation]()
        key = self._let_in(call)
        required = _REQUIRED.get(call.operation)
        if required is not None and not key.permissions.get(required):
            raise RefusalError(PERMISSION_DENIED)
        return self._private[call.operation](key)

    def _let_in(self, call: Call) -> SandboxKey:
        """Return the key that signs a call, unless there is a lockout; what looks like guessing is counted."""
        self._lockout.check(self._clock())
        try:
            key = self._signer_of(call)
        except RefusalError as refusal:
            if not _GUESSES.isdisjoint(refusal.codes):
                self._lockout.note_failure(self._clock())
            raise
        self._lockout.note_success()
        return key

    def _signer_of(self, call: Call) -> SandboxKey:
        """Return the key that signs a call, used by it; a call that is refused uses nothing."""
        now = self._clock()
        key, usage = self._account.holder_of(call.api_key[0] if len(call.api_key) == 1 else "")
        if not self._counts(key, usage, now):
            raise RefusalError(INVALID_KEY)
        if not _may_come_from(call.remote, key.ip_allowlist):
            raise RefusalError(PERMISSION_DENIED)
        nonce = nonce_of(call)
        if nonce is None:
            raise RefusalError(INVALID_NONCE)
        if not is_signed(call, key.secret, nonce):
            raise RefusalError(INVALID_SIGNATURE)
        before = self._account.listed()
        used = self._account.use(key, int(nonce), now)
        self._history.note(before, now)
        return used

    def _counts(self, key: SandboxKey, usage: Usage, now: float) -> bool:
        """Tell whether a key is known already, and has not expired."""
        return now - usage.born >= self._propagation_delay and not 0 < key.valid_until <= now

    def _time(self) -> dict[str, object]:
        now = self._clock()
        # Not strftime(), whose names depend on the user's language.
        weekday, day, month, year, time_of_day, _ = formatdate(now).split()
        return {"unixtime": int(now), "rfc1123": f"{weekday} {day} {month} {year[-2:]} {time_of_day} +0000"}

    def _describe(self, key: SandboxKey) -> dict[str, object]:
        """Tell a key about itself, this very use included."""
        return {
            "apiKeyName": key.api_key_name,
            "apiKey": key.api_key,
            "nonce": str(key.nonce),
            "nonceWindow": key.nonce_window,
            "permissions": [spelt_by_key_info(name) for name in PERMISSIONS if key.permissions.get(name)],
            "iban": self._iban,
            "validUntil": digits(key.valid_until),
            "queryFrom": digits(key.query_from),
            "queryTo": digits(key.query_to),
            "createdTime": key.created_time,
            "modifiedTime": key.modified_time,
            "ipAllowlist": list(key.ip_allowlist),
            "lastUsed": digits(key.last_used),
        }

    def _new_token(self, _key: SandboxKey) -> dict[str, object]:
        """Make a token for a WebSocket; there is none to use it with."""
        return {"token": base64.b64encode(self._rng.randbytes(32)).decode().rstrip("="), "expires": _TOKEN_SECONDS}


def _may_come_from(remote: str | None, allowlist: tuple[str, ...]) -> bool:
    if not allowlist:
        return True
    return remote is not None and any(
        ipaddress.ip_address(remote) in ipaddress.ip_network(entry) for entry in allowlist
    )
