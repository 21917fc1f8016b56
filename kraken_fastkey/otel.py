"""Spans and metrics of OpenTelemetry, from the events of clients, token providers and leases.

It takes the extra `otel`, which brings OpenTelemetry's API alone: the SDK and the exporters are the application's own.

::

    observer = OpenTelemetryObserver()
    async with FastKeyClient(..., on_event=observer) as client:
        ...

Requests follow the semantic conventions for HTTP clients. No secret, query or body is in any attribute, and attributes
of metrics have few values: no key's name is among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from kraken_fastkey._events.client import LockoutStarted, RetryScheduled
from kraken_fastkey._events.event import Event
from kraken_fastkey._events.grants import RefreshAdopted, RefreshEnded, RefreshFailed, RefreshStarted
from kraken_fastkey._events.leases import (
    LeaseEntered,
    LeaseFailing,
    LeaseKeyHandedOver,
    LeaseLeft,
    LeaseRotationEnded,
    LeaseRotationStarted,
    LeaseSwept,
)
from kraken_fastkey._events.observed import AttemptEnded, AttemptStarted, CallEnded, CallStarted
from kraken_fastkey._events.orphans import OrphanDeleted, OrphanSuspected, ReconcileEnded
from kraken_fastkey._version import __version__

try:
    from opentelemetry import context as otel_context, metrics, trace
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "kraken_fastkey.otel needs OpenTelemetry's API: pip install 'kraken-fastkey[otel]'", name=_missing.name
    ) from None

__all__ = ["OpenTelemetryObserver"]

_SCOPE: Final = "kraken_fastkey"
# The version of the semantic conventions in which all attributes that are used here are stable.
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.23.1"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PORTS: Final = {"http": 80, "https": 443}

Attributes = dict[str, str | bool | int | float | tuple[str, ...]]


@attrs.frozen
class _Open:
    """A span that has not ended yet, and is its task's present one."""

    span: trace.Span
    token: Any  # gives the task its former span back


class OpenTelemetryObserver:
    """A hook that makes spans and metrics of events: pass it as `on_event`.

    One observer serves any number of clients, token providers and leases. Make one for each process.

    Args:
        tracer_provider: Where the spans go; left out, the global one.
        meter_provider: Where the metrics go; left out, the global one.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider, _SCHEMA)
        self._request_seconds = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._call_seconds = meter.create_histogram(
            "kraken_fastkey.call.duration",
            "s",
            "Duration of the client's calls, with all their attempts.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._retries = meter.create_counter("kraken_fastkey.retries", "{retry}", "Attempts that are made again.")
        self._reconciles = meter.create_counter(
            "kraken_fastkey.reconciles", "{reconcile}", "Searches for what became of a create or update."
        )
        self._refreshes = meter.create_counter(
            "kraken_fastkey.refreshes", "{refresh}", "Refreshes of grants, and grants taken from the store."
        )
        self._deleted = meter.create_counter(
            "kraken_fastkey.orphans.deleted", "{key}", "Keys that nobody held, and that were deleted."
        )
        self._suspected = meter.create_counter(
            "kraken_fastkey.orphans.suspected", "{key}", "Keys that may exist though nobody holds them."
        )
        self._lockouts = meter.create_counter(
            "kraken_fastkey.lockouts", "{lockout}", "Lockouts by Kraken of an account or address."
        )
        self._rotations = meter.create_counter(
            "kraken_fastkey.lease.rotations", "{rotation}", "Keys that leases have made, or taken from their stores."
        )
        self._swept = meter.create_counter(
            "kraken_fastkey.lease.swept", "{key}", "Keys that crashes had left, and that leases have deleted."
        )
        self._failures = meter.create_counter(
            "kraken_fastkey.lease.failures", "{failure}", "Renewals and looks of leases that failed."
        )
        self._ends: dict[int, float] = {}
        meter.create_observable_gauge(
            "kraken_fastkey.lease.time_to_expiry",
            [partial(_observe_first, self._ends)],  # of no more than it needs: the meter holds it for ever
            "s",
            "How long until the first of the leases' keys expires; less than 0 if it has.",
        )
        self._calls: dict[int, _Open] = {}
        self._refreshing: dict[int, _Open] = {}
        self._rotating: dict[int, _Open] = {}
        self._attempts: dict[int, trace.Span] = {}
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            CallStarted: self._start_call,
            CallEnded: self._end_call,
            AttemptStarted: self._start_attempt,
            AttemptEnded: self._end_attempt,
            RetryScheduled: self._count_retry,
            ReconcileEnded: self._count_reconcile,
            OrphanDeleted: lambda event: self._tell(event, self._deleted, {}),
            OrphanSuspected: lambda event: self._tell(event, self._suspected, {}),
            LockoutStarted: lambda event: self._tell(event, self._lockouts, {}),
            RefreshStarted: self._start_refresh,
            RefreshEnded: self._end_refresh,
            RefreshAdopted: self._end_refresh,
            RefreshFailed: self._fail_refresh,
            LeaseEntered: self._enter_lease,
            LeaseRotationStarted: self._start_rotation,
            LeaseRotationEnded: self._end_rotation,
            LeaseKeyHandedOver: self._note_end,
            LeaseLeft: self._leave_lease,
            LeaseSwept: lambda event: self._tell(event, self._swept, {}),
            LeaseFailing: self._count_failure,
        }

    def __call__(self, event: Event) -> None:
        """Take an event."""
        handler = self._handlers.get(type(event))
        if handler is None:
            self._add_to_call(event)
        else:
            handler(event)

    def _start_call(self, event: CallStarted) -> None:
        if event.call_id is not None:
            attributes = {"kraken_fastkey.call_id": event.call_id} | _ours(event, "operation", "api_key_name")
            self._calls[event.call_id] = self._open(f"kraken_fastkey.{event.operation}", attributes)

    def _end_call(self, event: CallEnded) -> None:
        few = _ours(event, "operation", "outcome") | _error_type(event.error_type)
        opened = None if event.call_id is None else self._calls.pop(event.call_id, None)
        if opened is None:
            self._call_seconds.record(event.seconds, few)
            return
        self._call_seconds.record(event.seconds, few, trace.set_span_in_context(opened.span))
        opened.span.set_attributes(_ours(event, "api_key_name", "attempts", "codes", "outcome"))
        _close(opened, event.error_type)

    def _start_attempt(self, event: AttemptStarted) -> None:
        attributes = _ours(event, "operation") | {
            "http.request.method": event.method,
            "url.full": event.url,
            **_server_of(event.url),
        }
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        self._attempts[event.attempt_id] = self._tracer.start_span(
            event.method, kind=trace.SpanKind.CLIENT, attributes=attributes
        )

    def _end_attempt(self, event: AttemptEnded) -> None:
        answer: Attributes = {}
        if event.status is not None:
            answer["http.response.status_code"] = event.status
        if event.http_version is not None:
            answer["network.protocol.version"] = event.http_version
        # An answer is known by its status, unless that says that all is well.
        by_status = event.status is not None and event.status >= 400
        kind = str(event.status) if by_status else event.error_type
        few = _ours(event, "operation") | {"http.request.method": event.method, **_server_of(event.url)}
        few |= answer | _error_type(kind)
        span = self._attempts.pop(event.attempt_id, None)
        if span is None:
            self._request_seconds.record(event.seconds, few)
            return
        self._request_seconds.record(event.seconds, few, trace.set_span_in_context(span))
        span.set_attributes(answer | _ours(event, "codes", "outcome"))
        _end(span, kind)

    def _count_retry(self, event: RetryScheduled) -> None:
        self._tell(event, self._retries, _ours(event, "operation") | _error_type(event.error_type))

    def _count_reconcile(self, event: ReconcileEnded) -> None:
        self._tell(event, self._reconciles, _ours(event, "operation", "settled") | _error_type(event.error_type))

    def _start_refresh(self, event: RefreshStarted) -> None:
        self._refreshing[event.refresh_id] = self._open("kraken_fastkey.refresh", {})

    def _end_refresh(self, event: RefreshEnded | RefreshAdopted) -> None:
        result = "refreshed" if isinstance(event, RefreshEnded) else "adopted"
        self._finish_refresh(event, {"kraken_fastkey.result": result}, _ours(event, "generation"), None)

    def _fail_refresh(self, event: RefreshFailed) -> None:
        few: Attributes = {"kraken_fastkey.result": "failed", **_error_type(event.error_type)}
        self._finish_refresh(event, few, _ours(event, "cause", "holds"), event.error_type)

    def _finish_refresh(
        self, event: RefreshEnded | RefreshAdopted | RefreshFailed, few: Attributes, more: Attributes, kind: str | None
    ) -> None:
        self._refreshes.add(1, few)
        opened = self._refreshing.pop(event.refresh_id, None)
        if opened is not None:
            opened.span.set_attributes(few | more)
            _close(opened, kind)

    def _enter_lease(self, _: LeaseEntered) -> None:
        # In the lease's own task, which lives on when the span that it was entered in has ended.
        otel_context.attach(trace.set_span_in_context(trace.INVALID_SPAN))

    def _start_rotation(self, event: LeaseRotationStarted) -> None:
        self._rotating[event.rotation_id] = self._open(
            "kraken_fastkey.lease.rotation", _ours(event, "lease_id", "reason")
        )

    def _end_rotation(self, event: LeaseRotationEnded) -> None:
        self._rotations.add(1, _ours(event, "reason", "result") | _error_type(event.error_type))
        opened = self._rotating.pop(event.rotation_id, None)
        if opened is not None:
            opened.span.set_attributes(_ours(event, "api_key_name", "result"))
            _close(opened, event.error_type)

    def _note_end(self, event: LeaseKeyHandedOver) -> None:
        self._ends.pop(event.lease_id, None)
        if event.expires_at is not None:
            self._ends[event.lease_id] = event.expires_at
        self._add_to_call(event)

    def _leave_lease(self, event: LeaseLeft) -> None:
        self._ends.pop(event.lease_id, None)

    def _count_failure(self, event: LeaseFailing) -> None:
        self._tell(event, self._failures, _ours(event, "state") | _error_type(event.error_type))

    def _open(self, name: str, attributes: Attributes) -> _Open:
        """Start a span, and make it its task's present one, so that what follows is its child."""
        span = self._tracer.start_span(name, attributes=attributes)
        return _Open(span, otel_context.attach(trace.set_span_in_context(span)))

    def _tell(self, event: Event, counter: metrics.Counter, few: Attributes) -> None:
        counter.add(1, few)
        self._add_to_call(event)

    def _add_to_call(self, event: Event) -> None:
        """Note an event that has no span of its own on that of its call, or on the present one of the library's."""
        opened = None if event.call_id is None else self._calls.get(event.call_id)
        if opened is None:
            present = trace.get_current_span()
            opened = next((each for each in self._rotating.values() if each.span is present), None)
        if opened is not None:
            names = [field.name for field in attrs.fields(type(event)) if field.name not in {"time", "call_id"}]
            opened.span.add_event(event.name, _ours(event, *names))


def _observe_first(ends: Mapping[int, float], _: metrics.CallbackOptions) -> list[metrics.Observation]:
    """Return how long until the first of these moments, in Unix seconds; called in any thread."""
    moments = list(ends.values())
    return [metrics.Observation(min(moments) - time.time())] if moments else []


def _close(opened: _Open, error_type: str | None) -> None:
    # A forgotten coroutine is closed wherever it is collected, and there another span may be the present one.
    if trace.get_current_span() is opened.span:
        otel_context.detach(opened.token)
    _end(opened.span, error_type)


def _end(span: trace.Span, error_type: str | None) -> None:
    if error_type is not None:
        span.set_attributes(_error_type(error_type))
        span.set_status(trace.StatusCode.ERROR)
    span.end()


def _error_type(error_type: str | None) -> Attributes:
    return {} if error_type is None else {"error.type": error_type}


def _ours(event: Event, *names: str) -> Attributes:
    """Return fields of an event as attributes of ours, but those that hold nothing."""
    values = {name: getattr(event, name) for name in names}
    return {f"kraken_fastkey.{name}": value for name, value in values.items() if value not in {None, ()}}


@lru_cache(maxsize=32)
def _server_of(url: str) -> Mapping[str, str | int]:
    parts = urlsplit(url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS.get(parts.scheme, 0)}
