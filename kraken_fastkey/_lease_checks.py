"""What is wrong with the arguments of a lease."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from kraken_fastkey._client import FastKeyClient
from kraken_fastkey._emitter import hook_fault
from kraken_fastkey._models import CreateKeyRequest
from kraken_fastkey._probing import api_url_fault
from kraken_fastkey.stores import KeyStore

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.]{1,12}", re.ASCII)  # a name has room for its owner and for chance, too
_MIN_LIFE: Final = timedelta(minutes=1)
_MOST_OF_LIFE: Final = 0.9
_MAX_LIFE: Final = timedelta(days=365)


def time_faults(lifetime: object, renew_before: object, grace: object, check_every: object) -> dict[str, str]:
    """Return what is wrong with a lease's times, by argument."""
    faults = {}
    if not isinstance(lifetime, timedelta) or not _MIN_LIFE <= lifetime <= _MAX_LIFE:
        faults["lifetime"] = "must be a timedelta of 1 minute to 365 days"
    elif renew_before is not None and not (
        isinstance(renew_before, timedelta) and timedelta(0) < renew_before <= _MOST_OF_LIFE * lifetime
    ):
        faults["renew_before"] = "must be a timedelta, more than 0 and at most nine tenths of lifetime"
    if not isinstance(grace, timedelta) or not timedelta(0) <= grace <= _MAX_LIFE:
        faults["grace"] = "must be a timedelta, 0 or more"
    if check_every is not None and not (isinstance(check_every, timedelta) and check_every >= timedelta(seconds=1)):
        faults["check_every"] = "must be a timedelta, 1 second or more, or None"
    return faults


def other_faults(
    client: object,
    template: object,
    store: object,
    prefix: object,
    on_exit: object,
    on_change: object,
    api_url: object,
    on_event: object,
) -> dict[str, str]:
    """Return what is wrong with the other arguments of a lease, likewise."""
    faults = {}
    if not isinstance(client, FastKeyClient):
        faults["client"] = f"must be a FastKeyClient, not {type(client).__name__}"
    if not isinstance(template, CreateKeyRequest):
        faults["template"] = f"must be a CreateKeyRequest, not {type(template).__name__}"
    if store is not None and not isinstance(store, KeyStore):
        faults["store"] = f"must be a KeyStore, not {type(store).__name__}"
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        faults["prefix"] = "must be 1 to 12 of the letters A to Z, digits, '_' and '.'"
    if on_exit not in {"delete", "keep"}:
        faults["on_exit"] = "must be 'delete' or 'keep'"
    if on_change is not None and not callable(on_change):
        faults["on_change"] = "must be a function that takes a key"
    fault = api_url_fault(api_url)
    if fault is not None:
        faults["api_url"] = fault
    fault = hook_fault(on_event)
    if fault is not None:
        faults["on_event"] = fault
    return faults
