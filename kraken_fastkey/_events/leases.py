"""What leases tell."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs

from kraken_fastkey._events.event import Event


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
