"""What happens inside, as plain values: for `on_event`, for the log, and for OpenTelemetry.

No event holds a secret. Names and fields are stable: more may come, and none changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import attrs

from kraken_fastkey._errors import Outcome

__all__ = [
    "AttemptEnded",
    "AttemptOutcome",
    "AttemptStarted",
    "CallEnded",
    "CallStarted",
    "ClosingCutOff",
    "DangerousKeyRequested",
    "Event",
    "EventHook",
    "GrantAging",
    "GrantLost",
    "GrantNotSaved",
    "HookFailed",
    "KeyRenamed",
    "KrakenWarned",
    "LeaseEntered",
    "LeaseEvent",
    "LeaseExpired",
    "LeaseFailing",
    "LeaseKeyDeleted",
    "LeaseKeyDiffers",
    "LeaseKeyGone",
    "LeaseKeyHandedOver",
    "LeaseKeyLockedOut",
    "LeaseKeyMade",
    "LeaseKeyNotDeleted",
    "LeaseKeyNotPlaced",
    "LeaseKeyNotProbed",
    "LeaseKeyRefused",
    "LeaseKeyTaken",
    "LeaseKeyTakenUnseen",
    "LeaseKeyUnknown",
    "LeaseLeft",
    "LeaseListenerFailed",
    "LeaseNotCleared",
    "LeaseRecovered",
    "LeaseRotationEnded",
    "LeaseRotationStarted",
    "LeaseSwept",
    "LockoutEnded",
    "LockoutStarted",
    "OrphanDeleted",
    "OrphanNotDeleted",
    "OrphanSettled",
    "OrphanSuspected",
    "ReconcileEnded",
    "ReconcileLooked",
    "ReconcileStarted",
    "RefreshAdopted",
    "RefreshEnded",
    "RefreshFailed",
    "RefreshStarted",
    "RequestsLeftOpen",
    "RetryScheduled",
    "StoreInClear",
    "StoreLockExpired",
    "StoreLockNotFreed",
    "TokenLifeAssumed",
    "TokenRejected",
    "VerificationRetried",
]

AttemptOutcome = Literal["succeeded"] | Outcome
"""What an attempt did at Kraken: `"succeeded"`, or how it failed, see `Outcome`."""


@attrs.frozen(eq=False, repr=False)
class Event:
    """Something that happened. Each kind is a class of its own, with a stable `name`.

    Attributes:
        name: The event's name, such as `"kraken_fastkey.retry"`; the same for all events of a class.
        time: When it happened, in Unix seconds.
        call_id: The call of the client that it belongs to: a number that is unique in the process, the same for the
            call's start and end, its attempts, retries, refreshes and reconciliation. `None` outside a call, and in
            the log of a client without a hook.
    """

    name: ClassVar[str] = "kraken_fastkey"

    time: float
    call_id: int | None

    # Once for all classes: attrs would compile these for each, and with them the import would take 12 ms longer.
    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(type(self)))
        return f"{type(self).__name__}({fields})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return attrs.astuple(self, recurse=False) == attrs.astuple(other, recurse=False)

    def __hash__(self) -> int:
        return hash((type(self), attrs.astuple(self, recurse=False)))


EventHook = Callable[[Event], object]
"""Takes each event, in the event loop, right when it happens: it must not block. What it returns is not used.

What it raises is logged once for each type of exception, and does no harm to the call.
"""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallStarted(Event):
    """A method of the client was called.

    Attributes:
        operation: The client's method.
        api_key_name: The key that it concerns; `None` where it concerns none.
    """

    name: ClassVar[str] = "kraken_fastkey.call.start"

    operation: str
    api_key_name: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallEnded(Event):
    """A call has ended. If its caller was cancelled, it ends when what was under way has been cleared up.

    Attributes:
        operation: The client's method.
        api_key_name: The key that it concerned in the end; `None` where it concerned none.
        seconds: How long it took.
        attempts: How many HTTP requests were sent in it, those of its reconciliation, and of a refresh that it began,
            among them.
        outcome: What the call did at Kraken, all attempts together; `None` if it was cancelled, or if it failed with
            an exception that is no `FastKeyError`.
        error_type: The class of the exception that it failed with, such as `"RateLimitedError"`; `None` if it
            succeeded.
        status: The HTTP status that it failed with; `None` if it succeeded, or there was no answer.
        codes: Kraken's own error strings.
    """

    name: ClassVar[str] = "kraken_fastkey.call.end"

    operation: str
    api_key_name: str | None = None
    seconds: float
    attempts: int
    outcome: AttemptOutcome | None
    error_type: str | None = None
    status: int | None = None
    codes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AttemptStarted(Event):
    """An HTTP request is about to be sent.

    Attributes:
        operation: What it does: the client's method, `"refresh"` or `"exchange_code"`. Within a call's
            reconciliation it is another method than the call's.
        attempt_id: A number that is unique in the process, the same for the attempt's start and end.
        attempt: The how manieth request of this operation it is, 1 or more.
        method: The HTTP method.
        url: Where it is sent to: neither query nor credentials are in it.
    """

    name: ClassVar[str] = "kraken_fastkey.attempt.start"

    operation: str
    attempt_id: int
    attempt: int
    method: str
    url: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AttemptEnded(Event):
    """An HTTP request was answered, or has failed.

    Attributes:
        operation: As for `AttemptStarted`.
        attempt_id: As for `AttemptStarted`.
        attempt: As for `AttemptStarted`.
        method: As for `AttemptStarted`.
        url: As for `AttemptStarted`.
        seconds: How long it took.
        outcome: What it did at Kraken.
        status: The answer's HTTP status; `None` if there was no answer.
        http_version: HTTP's version of the answer, such as `"1.1"`; `None` if there was no answer.
        error_type: The class of the exception that it failed with; `None` if it succeeded.
        codes: Kraken's own error strings.
    """

    name: ClassVar[str] = "kraken_fastkey.attempt.end"

    operation: str
    attempt_id: int
    attempt: int
    method: str
    url: str
    seconds: float
    outcome: AttemptOutcome
    status: int | None = None
    http_version: str | None = None
    error_type: str | None = None
    codes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryScheduled(Event):
    """An attempt failed, and there will be another one.

    Attributes:
        operation: The client's method.
        attempt: How many attempts there were, 1 or more.
        wait_seconds: How long until the next one.
        error_type: The class of the exception that the last one failed with.
    """

    name: ClassVar[str] = "kraken_fastkey.retry"

    operation: str
    attempt: int
    wait_seconds: float
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenRejected(Event):
    """Kraken refused the access token (401), and the provider is asked for another.

    Attributes:
        operation: The client's method.
        generation: How often the grant had been refreshed; `None` if the token says nothing of it.
    """

    name: ClassVar[str] = "kraken_fastkey.token.reject"

    operation: str
    generation: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KrakenWarned(Event):
    """An answer that succeeded holds warnings.

    Attributes:
        operation: The client's method, or `"verify_key"`.
        codes: Kraken's own strings, which begin with `W`.
    """

    name: ClassVar[str] = "kraken_fastkey.answer.warn"

    operation: str
    codes: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LockoutStarted(Event):
    """Kraken has locked the account or address out. The account's client sends nothing for a while.

    Attributes:
        operation: The client's method that met it.
        wait_seconds: For how long nothing is sent.
    """

    name: ClassVar[str] = "kraken_fastkey.lockout.start"

    operation: str
    wait_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LockoutEnded(Event):
    """After a lockout, Kraken has let a request in.

    Attributes:
        operation: The client's method that was let in.
    """

    name: ClassVar[str] = "kraken_fastkey.lockout.end"

    operation: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReconcileStarted(Event):
    """A create or update may have been carried out, and the client begins to find out.

    Attributes:
        operation: The client's method.
        api_key_name: The key that may have been created or changed.
        error_type: The class of the exception that left it open.
    """

    name: ClassVar[str] = "kraken_fastkey.reconcile.start"

    operation: str
    api_key_name: str
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReconcileLooked(Event):
    """The client has looked into the list of keys.

    Attributes:
        operation: The client's method.
        api_key_name: The key that it looks for.
        verdict: What the list says. Of a create: `"absent"`, `"ours"` (it was carried out), `"before"` (the key was
            there before), `"unclear"`. Of an update: `"done"`, `"not_done"`, `"gone"`. Of both: `"failed"` if
            the list could not be had.
        error_type: The class of the exception that the list failed with; `None` if it did not.
    """

    name: ClassVar[str] = "kraken_fastkey.reconcile.look"

    operation: str
    api_key_name: str
    verdict: str
    error_type: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KeyRenamed(Event):
    """A create goes on under another generated name, since the first one may turn up late.

    Attributes:
        operation: The client's method.
        api_key_name: The name that is given up.
        new_api_key_name: The name in its place.
    """

    name: ClassVar[str] = "kraken_fastkey.reconcile.rename"

    operation: str
    api_key_name: str
    new_api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReconcileEnded(Event):
    """The client has found out what became of a create or update, or has given up.

    Attributes:
        operation: The client's method.
        api_key_name: The key that it was about.
        settled: Whether it is known how things are: then the call goes on, or fails with a clear answer. If not, it
            fails with an `UnknownOutcomeError`, or is finished in the background.
        error_type: The class of the exception that the call fails with; `None` if it goes on.
    """

    name: ClassVar[str] = "kraken_fastkey.reconcile.end"

    operation: str
    api_key_name: str
    settled: bool
    error_type: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrphanDeleted(Event):
    """A key that nobody holds was deleted.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.orphan.delete"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrphanNotDeleted(Event):
    """A key that nobody holds could not be deleted yet.

    Attributes:
        api_key_name: The key.
        error_type: The class of the exception.
    """

    name: ClassVar[str] = "kraken_fastkey.orphan.delete_fail"

    api_key_name: str
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrphanSettled(Event):
    """The client looked for a key in the background, and is sure now that nobody's key is left.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.orphan.settle"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrphanSuspected(Event):
    """A key may exist though nobody holds it, and the client could not find out: look, and delete it.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.orphan.suspect"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DangerousKeyRequested(Event):
    """A key is asked for that may withdraw funds, from any address or for ever.

    Attributes:
        operation: The client's method.
        api_key_name: The key.
        field: What is not set: `"ip_allowlist"` or `"valid_until"`.
        danger: What follows from that.
    """

    name: ClassVar[str] = "kraken_fastkey.key.danger"

    operation: str
    api_key_name: str
    field: str
    danger: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClosingCutOff(Event):
    """The client closed, and what was under way did not end in time.

    Attributes:
        wait_seconds: How long it had: `close_timeout`.
    """

    name: ClassVar[str] = "kraken_fastkey.close.cut_off"

    wait_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RequestsLeftOpen(Event):
    """The client closed while requests were still under way.

    Attributes:
        requests: How many.
    """

    name: ClassVar[str] = "kraken_fastkey.close.requests"

    requests: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshStarted(Event):
    """A token provider sees to it that there is a good token: in the store, or by a refresh.

    Attributes:
        refresh_id: A number that is unique in the process, the same for the start and the end.
        generation: How often the present grant has been refreshed; `None` if none was loaded yet.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.start"

    refresh_id: int
    generation: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshEnded(Event):
    """Kraken has issued a new pair of tokens.

    Attributes:
        refresh_id: As for `RefreshStarted`.
        generation: How often the grant has been refreshed by now.
        seconds: How long it took, the wait for the store's lock included.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.end"

    refresh_id: int
    generation: int
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshAdopted(Event):
    """The store had a good pair of tokens: at the start, or since another process has refreshed.

    Attributes:
        refresh_id: As for `RefreshStarted`.
        generation: How often the grant has been refreshed by now.
        seconds: How long it took, the wait for the store's lock included.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.adopt"

    refresh_id: int
    generation: int
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshFailed(Event):
    """There is no new pair of tokens.

    Attributes:
        refresh_id: As for `RefreshStarted`.
        seconds: How long it took, the wait for the store's lock included.
        error_type: The class of the exception.
        holds: Whether the present token is good all the same.
        cause: Of a `ReauthorizationRequiredError`, why the grant is dead; else `None`.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.fail"

    refresh_id: int
    seconds: float
    error_type: str
    holds: bool
    cause: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GrantNotSaved(Event):
    """A new pair of tokens could not be saved yet. It is kept in memory, and saving is tried again.

    Attributes:
        generation: How often the grant has been refreshed.
        error_type: The class of the exception that the store raised.
    """

    name: ClassVar[str] = "kraken_fastkey.grant.save_fail"

    generation: int
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GrantLost(Event):
    """The provider closed, and the present pair of tokens could not be saved: the user must log in again."""

    name: ClassVar[str] = "kraken_fastkey.grant.lose"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GrantAging(Event):
    """The grant's refresh token dies of age before long, unless it is used.

    Attributes:
        days: In how many days.
    """

    name: ClassVar[str] = "kraken_fastkey.grant.age"

    days: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseEvent(Event):
    """Something that happened to a lease: what all of its events have.

    Attributes:
        lease_id: A number that is unique in the process, the same for all events of a lease.
    """

    lease_id: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseEntered(LeaseEvent):
    """A lease was entered, and holds a key: from now on it is kept in the background."""

    name: ClassVar[str] = "kraken_fastkey.lease.enter"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseLeft(LeaseEvent):
    """A lease was left: it holds no key any more."""

    name: ClassVar[str] = "kraken_fastkey.lease.leave"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseNotCleared(LeaseEvent):
    """A lease was left, and the store could not be told, or its key not be deleted: it dies of age.

    Attributes:
        error_type: The class of the exception.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.leave_fail"

    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseRotationStarted(LeaseEvent):
    """A lease looks for another key: in the store, or by making one.

    Attributes:
        rotation_id: A number that is unique in the process, the same for the start and the end.
        reason: `"entry"`; `"due"`: the present key is near its end; `"lost"`: it was deleted, or refused; `"asked"`:
            somebody wants a new one; `"replaced"`: another lease of the store has a new one.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.rotation.start"

    rotation_id: int
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseRotationEnded(LeaseEvent):
    """A lease has found another key, or has failed to.

    Attributes:
        rotation_id: As for `LeaseRotationStarted`.
        reason: As for `LeaseRotationStarted`.
        seconds: How long it took, the wait for the store's lock and the looks at a new key included.
        result: `"made"`, `"taken"` (from the store) or `"failed"`.
        api_key_name: The key; `None` if it failed.
        error_type: The class of the exception; `None` if it did not fail.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.rotation.end"

    rotation_id: int
    reason: str
    seconds: float
    result: Literal["made", "taken", "failed"]
    api_key_name: str | None = None
    error_type: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyTaken(LeaseEvent):
    """A lease has taken a key out of the store.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.take"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyTakenUnseen(LeaseEvent):
    """The keys could not be listed, and the store's key is taken on trust, since it has not expired.

    Attributes:
        api_key_name: The key.
        error_type: The class of the exception that the list failed with.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.take_unseen"

    api_key_name: str
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyMade(LeaseEvent):
    """A lease has made a key, and stored it.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.make"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyNotProbed(LeaseEvent):
    """Kraken's trading side could not be asked about a new key.

    Attributes:
        api_key_name: The key.
        error_type: The class of the exception.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.probe_fail"

    api_key_name: str
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyUnknown(LeaseEvent):
    """Kraken's trading side does not know a new key yet. It is handed over all the same.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.probe_unknown"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyDiffers(LeaseEvent):
    """A new key is not what was asked for.

    Attributes:
        api_key_name: The key.
        differences: What differs, see `KeyVerification.differences`.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.probe_differ"

    api_key_name: str
    differences: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyLockedOut(LeaseEvent):
    """Kraken has locked a new key, or this address, out of its trading side.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.probe_lockout"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyHandedOver(LeaseEvent):
    """A lease has another key from now on: `KeyLease.key` is it, and whoever listens is told.

    Attributes:
        api_key_name: The key.
        old_api_key_name: The key of before; `None` at the lease's entry.
        expires_at: When the key expires, in Unix seconds; `None` if it does not.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.hand_over"

    api_key_name: str
    old_api_key_name: str | None
    expires_at: float | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyNotPlaced(LeaseEvent):
    """A new key could not be put where it belongs: an exchange object, a client or a file. It is tried again.

    Attributes:
        api_key_name: The key.
        fault: What went wrong.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.place_fail"

    api_key_name: str
    fault: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseListenerFailed(LeaseEvent):
    """A lease's `on_change` raised an exception.

    Attributes:
        error_type: The class of the exception.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.listener_fail"

    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyGone(LeaseEvent):
    """A lease's key is not at Kraken any more: its user has deleted it.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.gone"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyRefused(LeaseEvent):
    """Somebody tells the lease that Kraken has refused its key.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.refuse"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseSwept(LeaseEvent):
    """A key of this lease's store that the store does not know: a crash has left it, and it is deleted.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.sweep"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyDeleted(LeaseEvent):
    """A lease has deleted a key.

    Attributes:
        api_key_name: The key.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.delete"

    api_key_name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseKeyNotDeleted(LeaseEvent):
    """A lease could not delete a key yet. It is tried again, and the key dies of age.

    Attributes:
        api_key_name: The key.
        error_type: The class of the exception.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.delete_fail"

    api_key_name: str
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseFailing(LeaseEvent):
    """A lease could not renew its key, or not look after it. It is tried again.

    Attributes:
        error_type: The class of the exception.
        failures: How often in a row it has failed, 1 or more.
        state: How the lease is, see `LeaseState`.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.fail"

    error_type: str
    failures: int
    state: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseExpired(LeaseEvent):
    """A lease has no good key any more, and no other one yet. Told once, after the look that has shown it.

    Attributes:
        api_key_name: The key of before.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.expire"

    api_key_name: str | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeaseRecovered(LeaseEvent):
    """After failures, a lease is as it should be.

    Attributes:
        failures: How often in a row it had failed.
    """

    name: ClassVar[str] = "kraken_fastkey.lease.recover"

    failures: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenLifeAssumed(Event):
    """A token answer does not tell how long its access token lives: 4 h are assumed.

    Attributes:
        operation: `"refresh"` or `"exchange_code"`.
    """

    name: ClassVar[str] = "kraken_fastkey.token.assume_life"

    operation: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VerificationRetried(Event):
    """Kraken does not know a key that is to be verified: it may be too new.

    Attributes:
        operation: `"verify_key"`.
        attempt: How many tries there were.
        wait_seconds: How long until the next one.
    """

    name: ClassVar[str] = "kraken_fastkey.verify.retry"

    operation: str
    attempt: int
    wait_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoreInClear(Event):
    """A store keeps the secret of a key without encryption.

    Attributes:
        store: The store's place.
    """

    name: ClassVar[str] = "kraken_fastkey.store.clear"

    store: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoreLockNotFreed(Event):
    """A store's lock could not be given back, and expires by itself.

    Attributes:
        store: The store's place.
        wait_seconds: How long until it expires, at most.
        fault: What went wrong.
    """

    name: ClassVar[str] = "kraken_fastkey.store.lock_not_freed"

    store: str
    wait_seconds: float
    fault: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoreLockExpired(Event):
    """A store's lock expired while it was held.

    Attributes:
        store: The store's place.
        wait_seconds: How long a lock lives without a sign of life.
    """

    name: ClassVar[str] = "kraken_fastkey.store.lock_expire"

    store: str
    wait_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HookFailed(Event):
    """An `on_event` hook raised an exception. Told once for each type of it.

    Attributes:
        event_name: The event that it was called with.
        error_type: The class of the exception.
        where: The place in the code that raised it.
    """

    name: ClassVar[str] = "kraken_fastkey.hook.fail"

    event_name: str
    error_type: str
    where: str
