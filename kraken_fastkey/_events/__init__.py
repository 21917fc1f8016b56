"""What happens inside, as plain values: for `on_event`, for the log, and for OpenTelemetry.

No event holds a secret. Names and fields are stable: more may come, and none changes its meaning.

The modules are sorted by who tells, so that a client alone loads its own events: attrs takes 0.15 ms for each class.
"""
