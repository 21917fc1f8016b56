"""Events as records of the logger `kraken_fastkey`: which are logged, at which level, in which words."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

import attrs

from kraken_fastkey._events.event import Event

PREFIX: Final = "kraken_fastkey_"
"""What a record's own attributes begin with, so that they are none of `logging.LogRecord`'s."""

_LOGGER: Final = logging.getLogger("kraken_fastkey")

# By names, so that nobody has to load the events that only others tell. An event's fields fill in the text.
RECORDS: Final[Mapping[str, tuple[int, str]]] = {
    "kraken_fastkey.retry": (
        logging.INFO,
        "%(operation)s: attempt %(attempt)d failed with %(error_type)s; the next in %(wait_seconds).2f s",
    ),
    "kraken_fastkey.token.reject": (
        logging.INFO,
        "%(operation)s: the access token of generation %(generation)s was refused",
    ),
    "kraken_fastkey.answer.warn": (logging.WARNING, "%(operation)s: Kraken warns: %(codes)s"),
    "kraken_fastkey.lockout.start": (
        logging.WARNING,
        "%(operation)s: Kraken has locked the account or address out: nothing is sent for %(wait_seconds)g s",
    ),
    "kraken_fastkey.lockout.end": (logging.INFO, "%(operation)s: the lockout is over"),
    "kraken_fastkey.reconcile.start": (
        logging.INFO,
        "%(operation)s: what became of the key %(api_key_name)r is looked into, after a %(error_type)s",
    ),
    "kraken_fastkey.reconcile.rename": (
        logging.INFO,
        "%(operation)s: %(new_api_key_name)r takes the place of %(api_key_name)r",
    ),
    "kraken_fastkey.orphan.delete": (logging.INFO, "the key %(api_key_name)r, which nobody holds, is deleted"),
    "kraken_fastkey.orphan.delete_fail": (
        logging.INFO,
        "the key %(api_key_name)r could not be deleted yet: %(error_type)s",
    ),
    "kraken_fastkey.orphan.suspect": (
        logging.WARNING,
        (
            "the key %(api_key_name)r may exist though nobody holds it: if list_keys() shows it and nobody has its "
            "secret, delete it"
        ),
    ),
    "kraken_fastkey.key.danger": (
        logging.WARNING,
        "%(operation)s: %(api_key_name)r may withdraw funds %(danger)s: set %(field)s",
    ),
    "kraken_fastkey.close.cut_off": (logging.WARNING, "closing cut off what was under way after %(wait_seconds)g s"),
    "kraken_fastkey.close.requests": (logging.WARNING, "closing with %(requests)d requests still under way"),
    "kraken_fastkey.refresh.end": (logging.INFO, "refreshed: generation %(generation)d"),
    "kraken_fastkey.refresh.fail": (
        logging.WARNING,
        "refresh failed with %(error_type)s; the present token is still good: %(holds)s",
    ),
    "kraken_fastkey.grant.save_fail": (
        logging.ERROR,
        "the grant of generation %(generation)d is not saved yet: %(error_type)s",
    ),
    "kraken_fastkey.grant.lose": (logging.ERROR, "the grant could not be saved: the user will have to log in again"),
    "kraken_fastkey.grant.age": (logging.WARNING, "the grant dies of age in %(days).1f days, unless it is refreshed"),
    "kraken_fastkey.lease.take": (logging.INFO, "lease: took the key %(api_key_name)r from the store"),
    "kraken_fastkey.lease.take_unseen": (logging.WARNING, "lease: the stored key is taken unseen: %(error_type)s"),
    "kraken_fastkey.lease.make": (logging.INFO, "lease: made the key %(api_key_name)r"),
    "kraken_fastkey.lease.probe_fail": (
        logging.WARNING,
        "lease: the new key %(api_key_name)r could not be probed: %(error_type)s",
    ),
    "kraken_fastkey.lease.probe_unknown": (
        logging.WARNING,
        "lease: Kraken's trading side does not know the new key %(api_key_name)r yet",
    ),
    "kraken_fastkey.lease.probe_differ": (
        logging.WARNING,
        "lease: the new key %(api_key_name)r is not what was asked for: %(differences)s",
    ),
    "kraken_fastkey.lease.probe_lockout": (
        logging.WARNING,
        "lease: Kraken has locked the new key %(api_key_name)r, or this address, out",
    ),
    "kraken_fastkey.lease.place_fail": (
        logging.WARNING,
        "lease: the new key %(api_key_name)r could not be put in place: %(fault)s",
    ),
    "kraken_fastkey.lease.listener_fail": (logging.ERROR, "lease: on_change raised %(error_type)s"),
    "kraken_fastkey.lease.gone": (
        logging.WARNING,
        "lease: the key %(api_key_name)r is gone: its user has deleted it",
    ),
    "kraken_fastkey.lease.refuse": (logging.INFO, "lease: the key %(api_key_name)r was refused"),
    "kraken_fastkey.lease.sweep": (logging.WARNING, "lease: a crash has left the key %(api_key_name)r: it is deleted"),
    "kraken_fastkey.lease.delete": (logging.INFO, "lease: deleted the key %(api_key_name)r"),
    "kraken_fastkey.lease.delete_fail": (
        logging.WARNING,
        "lease: the key %(api_key_name)r could not be deleted yet: %(error_type)s",
    ),
    "kraken_fastkey.lease.fail": (
        logging.WARNING,
        "lease: no new key yet: %(error_type)s; the present one is %(state)s",
    ),
    "kraken_fastkey.lease.expire": (
        logging.ERROR,
        "lease: there is no good key any more: %(api_key_name)r was the last",
    ),
    "kraken_fastkey.lease.recover": (logging.INFO, "lease: all is well again, after %(failures)d failures"),
    "kraken_fastkey.lease.leave_fail": (
        logging.WARNING,
        "lease: the key could not be deleted on exit, or the store not be told: %(error_type)s",
    ),
    "kraken_fastkey.verify.retry": (
        logging.INFO,
        "%(operation)s: Kraken does not know the key in try %(attempt)d; the next in %(wait_seconds)g s",
    ),
    "kraken_fastkey.token.assume_life": (
        logging.WARNING,
        "%(operation)s: the answer tells no life of the access token: 4 h are assumed",
    ),
    "kraken_fastkey.store.clear": (
        logging.WARNING,
        "%(store)s keeps the secret of a key in clear: give it an encryption_key",
    ),
    "kraken_fastkey.store.lock_not_freed": (
        logging.WARNING,
        "the lock of %(store)s could not be freed, and expires in %(wait_seconds)g s: %(fault)s",
    ),
    "kraken_fastkey.store.lock_expire": (
        logging.WARNING,
        (
            "the lock of %(store)s expired while it was held: the program, or Redis, stood still for "
            "%(wait_seconds)g s, or Redis has lost it; others may have had it meanwhile"
        ),
    ),
    "kraken_fastkey.hook.fail": (
        logging.ERROR,
        "an on_event hook raised %(error_type)s at %(where)s, when called with %(event_name)s",
    ),
}
"""Which events are logged, at which level, and in which words; other events are for hooks alone."""


def is_logged(kind: object) -> bool:
    """Whether an event of this class would get into the log now."""
    record = RECORDS.get(getattr(kind, "name", ""))
    return record is not None and _LOGGER.isEnabledFor(record[0])


def log(event: Event) -> None:
    """Log an event, if it is one of those that are.

    The record has the event's name in `kraken_fastkey_event`, and each of its fields under that prefix.
    """
    record = RECORDS.get(event.name)
    if record is None:
        return
    level, text = record
    fields: dict[str, Any] = {
        field.name: getattr(event, field.name) for field in attrs.fields(type(event)) if field.name != "time"
    }
    words = {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    extra = {f"{PREFIX}event": event.name} | {f"{PREFIX}{name}": value for name, value in fields.items()}
    try:
        # As if it were logged where it was emitted.
        _LOGGER.log(level, text, words, extra=extra, stacklevel=3)
    except Exception as error:  # noqa: BLE001  # of a filter or handler of the program's: it must cost no call its key
        if logging.raiseExceptions and sys.stderr is not None:  # as logging tells of a handler that fails
            traceback.print_exception(error, chain=False)
