"""How a call stands, for who watches: that it waits to try again, or looks into a lost answer."""

from __future__ import annotations

from kraken_fastkey import AttemptStarted, Event, EventHook, ReconcileStarted, RetryScheduled
from kraken_fastkey.cli._output import Output


def follow(output: Output) -> EventHook:
    """Return a client's hook that has the spinner say what goes on."""

    def hook(event: Event) -> None:
        match event:
            case RetryScheduled():
                output.progress(f"{event.error_type}, trying again in {event.wait_seconds:.0f} s")
            case ReconcileStarted():
                output.progress("its answer was lost, finding out what became of it")
            case AttemptStarted():
                output.progress("")

    return hook
