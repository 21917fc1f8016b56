"""What becomes of a key whose answer was lost: what a client tells of it."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kraken_fastkey._events.event import Event


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
            there before), `"unclear"`. Of an update: `"done"`, `"not_done"`, `"gone"`, `"unclear"`. Of both:
            `"failed"` if the list could not be had.
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
