"""A lease's record and the account, brought together under the store's lock."""

from __future__ import annotations

import math
import os
import platform
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import attrs

from kraken_fastkey._client import FastKeyClient
from kraken_fastkey._emitter import Emitter
from kraken_fastkey._errors import (
    ApiError,
    FastKeyError,
    KeyNotFoundError,
    PermissionDeniedError,
    StaleRecordError,
    StoreError,
)
from kraken_fastkey._events.leases import (
    LeaseKeyDeleted,
    LeaseKeyMade,
    LeaseKeyNotDeleted,
    LeaseKeyTakenUnseen,
    LeaseSwept,
)
from kraken_fastkey._evidence import is_as_asked
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey._models import CreateKeyRequest, FastApiKey, GeneratedName, UpdateKeyRequest
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._wire import create_key
from kraken_fastkey.stores import KeyStore

_SETTLED: Final = timedelta(minutes=2)  # a new key may not show in the list before
_MAX_CONFLICTS: Final = 5
_FIRST_LIFE: Final = timedelta(minutes=10)

Usable = Callable[[FastApiKey], bool]


@attrs.define(kw_only=True)
class LeaseBook:
    """Makes, finds, retires and deletes the keys of one store.

    Whoever has the store's lock is the only one who makes keys with the store's owner in their names. So a key of
    such a name that the record does not know is one that a crash has left.

    Attributes:
        client: What makes and deletes keys.
        store: Where the record is.
        runtime: The clock.
        template: What keys are to be like.
        lifetime: How long a key lives.
        prefix: What their names begin with.
        grace: How long an old key is kept.
        two_phase: Whether a key gets its life only when it is stored.
        instance: Who keeps the book: one of those that share the store.
        presence: How long this instance counts as there, from when it was last seen.
        emitter: What tells.
        lease_id: The lease's number in what is told.
        given_up: The names of keys that could not be stored for sure, and were deleted.
        pending: A key that is stored, and could not be given its life yet.
        has_made: Whether a key was made and stored since this was last set to false.
    """

    client: FastKeyClient
    store: KeyStore
    runtime: Runtime
    template: CreateKeyRequest
    lifetime: timedelta
    prefix: str
    grace: timedelta
    two_phase: bool
    instance: str
    presence: timedelta
    emitter: Emitter
    lease_id: int
    given_up: set[str] = attrs.field(factory=set)
    pending: FastApiKey | None = None
    has_made: bool = False

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.runtime.time(), UTC)

    def age_of(self, key: FastApiKey) -> float:
        """Return how many seconds ago a key was made, 0 or more; `math.inf` if it is not known."""
        if key.created_time is None:
            return math.inf
        return max(0.0, (self.now() - key.created_time).total_seconds())

    async def take(self, usable: Usable, *, alive: Usable | None = None) -> tuple[LeaseRecord, FastApiKey, bool]:
        """Return the record, the stored key if it is usable, else a new one, and whether it is new.

        Keys that are due to be deleted are deleted before, so that there are never more than two.

        Args:
            usable: Tells whether a key is good, and has time left.
            alive: Given on entry alone: then the stored key must be what the template says; and if Kraken is down,
                one that is alive will do.

        Raises:
            FastKeyError: It failed. What is stored is as good as before.
        """
        async with self.store.lock():
            record = await self._load()
            try:
                listed = await self._list()
                record = await self._sweep(record, listed)
            except StoreError:
                raise
            except FastKeyError as error:
                if record.current is None or not (alive or usable)(record.current):
                    raise
                # Kraken is down, and the key is good as far as anybody knows.
                self.emitter.emit(
                    LeaseKeyTakenUnseen,
                    lease_id=self.lease_id,
                    api_key_name=record.current.api_key_name,
                    error_type=type(error).__name__,
                )
                return record, record.current, False
            current = record.current
            if (
                current is not None
                and usable(current)
                and (alive is None or self._is_as_asked(current))
                and current.api_key_name not in self.given_up
                and not self._is_gone(current, listed)
            ):
                return await self._save_presence(record), current, False
            pending, self.pending = self.pending, None
            if pending is not None and self._is_kept(pending, record):
                record, key = await self._extend(await self._put_in_place(record, pending), pending, record)
            else:
                record, key = await self._make(await self._retire_all(record))
            return record, key, True

    async def tidy(self, key: FastApiKey, *, look: bool) -> tuple[LeaseRecord, bool | None]:
        """Delete what is due, note that this instance is there; return the record, and whether a key is still there.

        Args:
            key: The key to look for.
            look: Whether to list the keys; if not, there is no telling, which is `None`.

        Raises:
            FastKeyError: It failed.
        """
        async with self.store.lock():
            record = await self._load()
            listed = await self._list() if look else None
            record = await self._save_presence(await self._sweep(record, listed))
        return record, None if listed is None else not self._is_gone(key, listed)

    async def leave(self, *, delete: bool) -> None:
        """Note that this instance is gone; delete the keys, unless another one is there.

        Raises:
            FastKeyError: It failed; the keys that are left die of age.
        """
        async with self.store.lock():
            for turn in range(_MAX_CONFLICTS):
                record = await self._load()
                holders = self._others(record)
                record = attrs.evolve(record, holders=FrozenDict(holders))
                if delete and not holders:
                    names = {*record.retired, *_names(record.current)}
                    left = await self._delete(names, delete=self.client._clear_up)  # noqa: SLF001
                    retired = FrozenDict(dict.fromkeys(left, self.now()))
                    record = attrs.evolve(record, current=None, retired=retired)
                try:
                    await self.store.save(record)
                except StaleRecordError:
                    # A key that was still coming has been stored meanwhile.
                    if turn + 1 == _MAX_CONFLICTS:
                        raise
                else:
                    return

    async def _load(self) -> LeaseRecord:
        record = await self.store.load()
        return LeaseRecord(owner=secrets.token_hex(3)) if record is None else record

    async def _list(self) -> set[str] | None:
        try:
            return {key.api_key_name for key in await self.client.list_keys()}
        except PermissionDeniedError:
            return None  # without the read scope, keys are known by the record alone

    def _is_gone(self, key: FastApiKey, listed: set[str] | None) -> bool:
        if listed is None or key.api_key_name in listed:
            return False
        return key.created_time is None or self.now() - key.created_time > _SETTLED

    async def _sweep(self, record: LeaseRecord, listed: set[str] | None) -> LeaseRecord:
        """Delete what a crash has left, and what has been kept long enough."""
        now = self.now()
        beginning = f"{self.prefix}-{record.owner}-"
        known = {*record.retired, *_names(record.current)}
        strays = {name for name in listed or () if name.startswith(beginning)} - known
        due = {name for name, moment in record.retired.items() if moment <= now}
        if not strays and not due:
            return record
        # Saved first: whoever is making one of them with a lock that it has lost cannot store it any more.
        record = await self.store.save(record)
        for name in sorted(strays):
            self.emitter.emit(LeaseSwept, lease_id=self.lease_id, api_key_name=name)
        left = await self._delete(strays | due)
        return await self._save(record, retired=_without(record.retired, due - left))

    async def _retire_all(self, record: LeaseRecord) -> LeaseRecord:
        """Delete keys that are still kept: there are two at most, the present one and its successor."""
        if not record.retired:
            return record
        left = await self._delete(record.retired)
        return await self._save(record, retired=_without(record.retired, set(record.retired) - left))

    async def _make(self, record: LeaseRecord) -> tuple[LeaseRecord, FastApiKey]:
        if record.generation == 0:
            # The owner before the key: after a crash in between, the key is known by it.
            record = await self.store.save(record)
        saved = record

        async def save(key: FastApiKey) -> None:
            nonlocal saved
            try:
                saved = await self._put_in_place(record, ended(key))
            except Exception:
                # It may have been stored all the same, and only its answer be lost.
                self.given_up.add(key.api_key_name)
                stored = await self.store.load()
                if stored is None or key.api_key_name not in _names(stored.current):
                    raise
                self.given_up.discard(key.api_key_name)
                saved = stored
            self.has_made = True
            self.emitter.emit(LeaseKeyMade, lease_id=self.lease_id, api_key_name=key.api_key_name)

        def ended(key: FastApiKey) -> FastApiKey:
            # Asked for, and so there, even if the answer does not tell it.
            return attrs.evolve(key, valid_until=self.now() + life) if key.valid_until is None else key

        life = _FIRST_LIFE if self.two_phase and self.lifetime > _FIRST_LIFE else self.lifetime
        name = GeneratedName(f"{self.prefix}-{record.owner}")
        request = attrs.evolve(self.template, api_key_name=name, valid_until=life)
        key = ended(await self.client.create_key(request, save=save))
        return (saved, key) if life is self.lifetime else await self._extend(saved, key, record)

    def _is_kept(self, key: FastApiKey, record: LeaseRecord) -> bool:
        """Whether a key is there still, though it is not the present one."""
        return record.retired.get(key.api_key_name, self.now()) > self.now()

    async def _extend(
        self, record: LeaseRecord, key: FastApiKey, before: LeaseRecord
    ) -> tuple[LeaseRecord, FastApiKey]:
        """Give the present key its life. If that fails, the old one serves on, and the next try is for the same key."""
        end = self.now() + self.lifetime
        try:
            await self.client.update_key(UpdateKeyRequest(key.api_key_name, valid_until=end))
        except FastKeyError as error:
            gone = isinstance(error, KeyNotFoundError)
            until = self.now() if gone or key.valid_until is None else key.valid_until
            kept = FrozenDict({**before.retired, key.api_key_name: until})
            await self._save(record, current=before.current, retired=kept)
            self.pending = None if gone else key
            raise
        key = attrs.evolve(key, valid_until=end.replace(microsecond=0))
        # Anew, since the one of before is to be kept from now on.
        record = attrs.evolve(record, current=before.current, retired=before.retired)
        return await self._put_in_place(record, key), key

    async def _put_in_place(self, record: LeaseRecord, key: FastApiKey) -> LeaseRecord:
        """Store a key as the present one; the one of before is deleted some time later."""
        retired = dict(_without(record.retired, {key.api_key_name}))
        if record.current is not None:
            # Others learn of the new key when they look into the store.
            until = [self.now() + self.grace, *self._others(record).values()]
            retired[record.current.api_key_name] = max(until)
        return await self._save(record, current=key, retired=FrozenDict(retired), holders=self._holders(record))

    async def _save_presence(self, record: LeaseRecord) -> LeaseRecord:
        return await self._save(record, holders=self._holders(record))

    async def _save(self, record: LeaseRecord, **changes: Any) -> LeaseRecord:
        return await self.store.save(attrs.evolve(record, **changes))

    def _holders(self, record: LeaseRecord) -> FrozenDict[datetime]:
        return FrozenDict(self._others(record) | {self.instance: self.now() + self.presence})

    def _others(self, record: LeaseRecord) -> dict[str, datetime]:
        """Return who else is there, and until when it counts so."""
        return {
            name: until
            for name, until in record.holders.items()
            if name != self.instance and until > self.now() and not is_dead(name)
        }

    def _is_as_asked(self, key: FastApiKey) -> bool:
        """Whether a stored key is what the template says: it may have changed since."""
        # The life is the lease's own; a time from now on is another at each start.
        moving: dict[str, Any] = {"valid_until": None} | {
            field: None for field in ("query_from", "query_to") if isinstance(getattr(self.template, field), timedelta)
        }
        asked = create_key(attrs.evolve(self.template, **moving), self.runtime.time()).parameters
        return is_as_asked(attrs.evolve(key, **moving), asked)

    async def _delete(self, names: Iterable[str], delete: Callable[[str], Awaitable[None]] | None = None) -> set[str]:
        """Delete keys, and return the names of those that could not be: they are tried again, and die of age."""
        delete = self.client.delete_key if delete is None else delete
        left = set()
        for name in sorted(names):
            try:
                await delete(name)
            except KeyNotFoundError:
                continue  # its user has deleted it
            except ApiError as error:
                kind = type(error).__name__
                self.emitter.emit(LeaseKeyNotDeleted, lease_id=self.lease_id, api_key_name=name, error_type=kind)
                left.add(name)
            else:
                self.emitter.emit(LeaseKeyDeleted, lease_id=self.lease_id, api_key_name=name)
        return left


def _names(key: FastApiKey | None) -> set[str]:
    return set() if key is None else {key.api_key_name}


def make_instance() -> str:
    """Return a name for who uses a key, from which others on the machine can tell whether its process is alive."""
    return f"{_place()}/{os.getpid()}/{secrets.token_hex(6)}"


def _place() -> str:
    """Return where process numbers mean the same: one boot of one machine, one namespace. Elsewhere, the host."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return platform.node()


def is_dead(instance: str) -> bool:
    """Whether the process of an instance on this machine is gone; of other machines there is no telling."""
    place, _, pid = instance.rpartition("/")[0].rpartition("/")
    # A host's name alone proves nothing; and on Windows, signal 0 is no question: it kills.
    if os.name != "posix" or ":" not in place or place != _place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _without(retired: Mapping[str, datetime], names: set[str]) -> FrozenDict[datetime]:
    return FrozenDict({name: moment for name, moment in retired.items() if name not in names})
