"""Events: what a hook is told, in which order, and that nothing is built where nobody listens."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import attrs
import pytest
from support import FakeTime, RecordingProvider, event_classes

import kraken_fastkey
from kraken_fastkey import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    CreateKeyRequest,
    Event,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    LockoutEnded,
    LockoutStarted,
    Permissions,
    RetryScheduled,
    ServiceUnavailableError,
    StaticTokenProvider,
    TemporaryLockoutError,
    UnknownOutcomeError,
    UpdateKeyRequest,
    _emitter,
    _log_records,
    _observed,
)
from kraken_fastkey._wire.http import WireResponse
from kraken_fastkey.otel import OpenTelemetryObserver
from kraken_fastkey.sandbox import Answer, Disconnect, Hang, KrakenSandbox

MakeClient = Callable[..., FastKeyClient]
BUSY = Answer(503, {"error": ["EService:Busy"]})


def story(events: list[Event]) -> list[str]:
    """Return what happened in short: the names, and of attempts what they did."""
    told = []
    for event in events:
        name = event.name.removeprefix("kraken_fastkey.")
        if isinstance(event, (AttemptStarted, AttemptEnded)):
            name += f" {event.method}"
        if isinstance(event, AttemptEnded):
            name += f" {event.status or event.error_type}"
        told.append(name)
    return told


@pytest.fixture(name="events")
def _events_told() -> list[Event]:
    return []


@pytest.fixture(name="observed")
def _observed_client(make_client: MakeClient, events: list[Event]) -> FastKeyClient:
    return make_client(on_event=events.append)


async def test_a_call_tells_its_start_its_attempt_and_its_end(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """All of it is told in order, with the time of the client's clock and one number for the call."""
    await observed.create_key(CreateKeyRequest("grid-bot"))
    await observed.get_user_info()
    started, attempt, answered, ended = events[:4]
    number = started.call_id
    attempt_id = attempt.attempt_id if isinstance(attempt, AttemptStarted) else 0
    url = f"{sandbox.base_url}/fast-api-key"
    assert isinstance(number, int)
    assert CallStarted(fake_time.now, number, operation="create_key", api_key_name="grid-bot") == started
    where: dict[str, Any] = {"attempt_id": attempt_id, "attempt": 1, "method": "POST", "url": url}
    assert AttemptStarted(fake_time.now, number, operation="create_key", **where) == attempt
    expected = AttemptEnded(
        fake_time.now,
        number,
        operation="create_key",
        seconds=0.0,
        outcome="succeeded",
        status=200,
        http_version="1.1",
        **where,
    )
    assert expected == answered
    end = CallEnded(
        fake_time.now,
        number,
        operation="create_key",
        api_key_name="grid-bot",
        seconds=0.0,
        attempts=1,
        outcome="succeeded",
    )
    assert end == ended
    assert ["call.start", "attempt.start GET", "attempt.end GET 200", "call.end"] == story(events[4:])
    assert {number} == {event.call_id for event in events[:4]}
    assert 1 == len({event.call_id for event in events[4:]} - {number})


async def test_a_retry_tells_how_long_it_waits(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """A failed attempt that is tried again: why, after which attempt, and the wait in seconds."""
    sandbox.faults.add(BUSY, operation="list_keys")
    await observed.list_keys()
    assert [
        "call.start",
        "attempt.start GET",
        "attempt.end GET 503",
        "retry",
        "attempt.start GET",
        "attempt.end GET 200",
        "call.end",
    ] == story(events)
    retry, again, ended = events[3], events[4], events[-1]
    assert isinstance(retry, RetryScheduled)
    assert ("list_keys", 1, 0.25, "ServiceUnavailableError") == (
        retry.operation,
        retry.attempt,
        retry.wait_seconds,
        retry.error_type,
    )
    assert isinstance(again, AttemptStarted)
    assert 2 == again.attempt
    assert isinstance(ended, CallEnded)
    assert (0.25, 2) == (ended.seconds, ended.attempts)


async def test_a_refused_token_is_told(make_client: MakeClient, events: list[Event], sandbox: KrakenSandbox) -> None:
    """A 401 tells that the token was refused, before the next attempt."""
    provider = RecordingProvider("FAKE-unknown-token", sandbox.issue_token())
    await make_client(provider, on_event=events.append).list_keys()
    assert ["attempt.end GET 401", "token.reject", "attempt.start GET"] == story(events)[2:5]


async def test_a_call_that_fails_tells_why(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """The call's end has the class of the error, its outcome, status and Kraken's own words."""
    sandbox.faults.add(BUSY, operation="get_user_info", times=None)
    with pytest.raises(ServiceUnavailableError):
        await observed.get_user_info()
    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert ("ServiceUnavailableError", "unknown", 503, ("EService:Busy",), 4) == (
        ended.error_type,
        ended.outcome,
        ended.status,
        ended.codes,
        ended.attempts,
    )


async def test_a_lost_answer_tells_the_whole_search(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """Doubt, look, deletion, retry and the end of the doubt, all under the call's number."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    await observed.create_key(CreateKeyRequest("grid-bot"))
    assert [
        "call.start",
        "attempt.start POST",
        "attempt.end POST TransportError",
        "reconcile.start",
        "attempt.start GET",
        "attempt.end GET 200",
        "reconcile.look",
        "attempt.start DELETE",
        "attempt.end DELETE 200",
        "orphan.delete",
        "retry",
        "reconcile.end",
        "attempt.start POST",
        "attempt.end POST 200",
        "call.end",
    ] == story(events)
    assert 1 == len({event.call_id for event in events})
    assert [4] == [event.attempts for event in events if isinstance(event, CallEnded)]
    looked = events[6]
    assert isinstance(looked, kraken_fastkey.ReconcileLooked)
    assert "ours" == looked.verdict


async def test_a_generated_name_is_replaced(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """A create under a generated name goes on under another, and the call's end tells the one that it has."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    key = await observed.create_key(CreateKeyRequest())
    assert "reconcile.rename" in story(events)
    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert key.api_key_name == ended.api_key_name


@pytest.mark.parametrize("commit", [True, False])
async def test_an_update_in_doubt_is_looked_into(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox, *, commit: bool
) -> None:
    """An update whose answer was lost: what the list says of it, and that the doubt is over."""
    await observed.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(Disconnect(commit=commit), operation="update_key")
    del events[:]
    await observed.update_key(UpdateKeyRequest("grid-bot", valid_until=timedelta(days=1)))
    verdicts = [event.verdict for event in events if isinstance(event, kraken_fastkey.ReconcileLooked)]
    assert ["done" if commit else "not_done"] == verdicts
    ends = [event for event in events if isinstance(event, kraken_fastkey.ReconcileEnded)]
    assert [(True, None)] == [(end.settled, end.error_type) for end in ends]


@pytest.mark.parametrize("operation", ["create_key", "update_key"])
async def test_what_cannot_be_found_out_is_told(
    observed: FastKeyClient,
    events: list[Event],
    sandbox: KrakenSandbox,
    operation: Literal["create_key", "update_key"],
) -> None:
    """Where no list can be had, the looks have failed, and the doubt is not settled."""
    await observed.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(Disconnect(commit=True), operation=operation)
    sandbox.faults.add(Answer(403, {"error": ["EGeneral:Permission denied"]}), operation="list_keys", times=None)
    del events[:]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create_key": lambda: observed.create_key(CreateKeyRequest("other")),
        "update_key": lambda: observed.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="swing-bot")),
    }
    with pytest.raises(UnknownOutcomeError):
        await calls[operation]()
    looks = [event for event in events if isinstance(event, kraken_fastkey.ReconcileLooked)]
    assert [("failed", "PermissionDeniedError")] == [(look.verdict, look.error_type) for look in looks]
    ends = [event for event in events if isinstance(event, kraken_fastkey.ReconcileEnded)]
    assert [(False, "UnknownOutcomeError")] == [(end.settled, end.error_type) for end in ends]


async def test_a_lockout_tells_when_it_begins_and_ends(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """Kraken's lockout, for how long nothing is sent, and the first request that is let in again."""
    sandbox.faults.add(Answer(200, {"error": ["EGeneral:Temporary lockout"]}), operation="list_keys")
    with pytest.raises(TemporaryLockoutError):
        await observed.list_keys()
    with pytest.raises(TemporaryLockoutError):
        await observed.list_keys()
    fake_time.now += 900
    await observed.list_keys()
    assert [900.0] == [event.wait_seconds for event in events if isinstance(event, LockoutStarted)]
    assert 1 == sum(isinstance(event, LockoutEnded) for event in events)
    attempts = [event.attempts for event in events if isinstance(event, CallEnded)]
    assert [1, 0, 1] == attempts


async def test_a_cancelled_call_ends_when_all_is_cleared_up(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """The caller has gone; the call's end comes after the deletion of the key that nobody took."""
    task = asyncio.create_task(observed.create_key(CreateKeyRequest("grid-bot")))
    while not sandbox.keys():  # made, and its answer is on the way
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(isinstance(event, CallEnded) for event in events)
    await observed.aclose()
    assert () == sandbox.keys()
    assert ["orphan.delete", "call.end"] == [name for name in story(events) if name in {"orphan.delete", "call.end"}]
    ended = next(event for event in events if isinstance(event, CallEnded))
    assert ("CancelledError", None) == (ended.error_type, ended.outcome)
    assert 1 == len({event.call_id for event in events})


async def test_a_key_that_comes_as_its_caller_goes_is_deleted_within_the_call(
    make_client: MakeClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """Cancelled in the very step in which the key came, the deletion has the call's number, though the call is over."""

    def hook(event: Event) -> None:
        events.append(event)
        if isinstance(event, CallEnded):
            task.cancel()

    client = make_client(on_event=hook)
    task = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.aclose()
    assert () == sandbox.keys()
    assert ["call.end", "orphan.delete"] == [name for name in story(events) if name in {"orphan.delete", "call.end"}]
    assert 1 == len({event.call_id for event in events})


async def test_a_cancelled_read_is_told(observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox) -> None:
    """A read that was under way: the attempt may have been carried out, and both ends are told at once."""
    sandbox.faults.add(Hang(), operation="list_keys")
    task = asyncio.create_task(observed.list_keys())
    while not sandbox.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["attempt.end GET CancelledError", "call.end"] == story(events)[-2:]


async def test_a_save_that_fails_is_told_by_its_type(observed: FastKeyClient, events: list[Event]) -> None:
    """An exception of the user's own: its class, and no outcome, since it is none of Kraken's."""

    async def save(_: object) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        await observed.create_key(CreateKeyRequest("grid-bot"), save=save)
    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert ("RuntimeError", None) == (ended.error_type, ended.outcome)


async def test_calls_at_once_have_numbers_of_their_own(observed: FastKeyClient, events: list[Event]) -> None:
    """Each of many calls is told apart, whatever runs between its events."""
    names = [f"bot-{number}" for number in range(20)]
    await asyncio.gather(*(observed.create_key(CreateKeyRequest(name)) for name in names))
    started = {event.call_id: event.api_key_name for event in events if isinstance(event, CallStarted)}
    assert sorted(names) == sorted(str(name) for name in started.values())
    for number in started:
        assert ["call.start", "attempt.start POST", "attempt.end POST 200", "call.end"] == story(
            [event for event in events if event.call_id == number]
        )


async def test_accounts_of_a_client_share_its_hook(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """`for_account` shares the hook, as it shares the session."""
    other = observed.for_account(StaticTokenProvider(sandbox.issue_token()))
    await other.list_keys()
    assert "call.end" == story(events)[-1]


async def test_a_failing_hook_breaks_no_call(
    make_client: MakeClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a hook raises, the calls go on; each type of exception is logged once, with the place, not its text."""
    seen: list[Event] = []

    def hook(event: Event) -> None:
        seen.append(event)
        raise (KeyError if isinstance(event, CallEnded) else ValueError)("FAKE-SECRET")

    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    client = make_client(on_event=hook)
    key = await client.create_key(CreateKeyRequest("grid-bot"))
    await client.list_keys()
    assert [key.api_key_name] == [held.api_key_name for held in sandbox.keys()]
    assert 19 == len(seen)
    told = [record for record in caplog.records if "hook" in record.getMessage()]
    assert ["ValueError", "KeyError"] == [vars(record)["kraken_fastkey_error_type"] for record in told]
    assert all(f"{Path(__file__).name}:" in record.getMessage() for record in told)
    assert "FAKE-SECRET" not in caplog.text


async def test_a_hook_that_raises_a_cancellation_cancels_nothing(
    make_client: MakeClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that asks a cancelled future for its result costs no key: the call goes on, and the fault is logged."""
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    client = make_client(on_event=lambda _: cancelled.result())
    key = await client.create_key(CreateKeyRequest("grid-bot"))
    assert [key.api_key_name] == [held.api_key_name for held in sandbox.keys()]
    assert ["CancelledError"] == [vars(record)["kraken_fastkey_error_type"] for record in caplog.records]


async def test_a_log_filter_that_raises_costs_no_key(
    client: FastKeyClient, sandbox: KrakenSandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logging passes on what a filter raises: that is told on stderr, and the call goes on."""
    transport = client._shared.engine._transport
    send = transport.send

    async def send_and_warn(*args: Any) -> WireResponse:
        answer = await send(*args)
        told = json.loads(answer.body) | {"error": ["WGeneral:Beware"]}
        return attrs.evolve(answer, body=json.dumps(told).encode())

    def refuse(_: logging.LogRecord) -> bool:
        raise LookupError("no request id in this task")

    monkeypatch.setattr(transport, "send", send_and_warn)
    logging.getLogger("kraken_fastkey").addFilter(refuse)
    try:
        key = await client.create_key(CreateKeyRequest("grid-bot"))
    finally:
        logging.getLogger("kraken_fastkey").removeFilter(refuse)
    assert [key.api_key_name] == [held.api_key_name for held in sandbox.keys()]
    assert "LookupError: no request id in this task" in capsys.readouterr().err


async def _async_hook(_: Event) -> None:
    """Be no hook: nobody would await it."""


class _AsyncHook:
    async def __call__(self, _: Event) -> None:
        """Be no hook either."""


@pytest.mark.parametrize("hook", [5, "print", _async_hook, _AsyncHook()])
def test_what_is_no_hook_is_refused(hook: Any) -> None:
    """A hook is a plain function, which is told before anything is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        FastKeyClient(StaticTokenProvider("FAKE"), on_event=hook)
    assert {"on_event"} == caught.value.faults.keys()


def _counted(files: set[str]) -> tuple[list[str], Callable[[FrameType, str, Any], None]]:
    """Return a profiler's hook, and what it finds: calls into these files."""
    calls: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in files:
            calls.append(f"{Path(frame.f_code.co_filename).name}: {frame.f_code.co_name}")

    return calls, profile


@pytest.fixture(name="profiled")
def _profiled() -> Iterator[list[str]]:
    """Note each call into the modules of events, and each event that is made."""
    files = {str(module.__file__) for module in (_emitter, _log_records, _observed)}
    # attrs compiles what makes an event under a name of its own.
    files |= {kind.__init__.__code__.co_filename for kind in event_classes()}
    calls, profile = _counted(files)
    yield_to = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(yield_to)


async def _calls(client: FastKeyClient) -> None:
    """Make each call once, all of which succeed."""
    await client.create_key(CreateKeyRequest("grid-bot", permissions=Permissions(funds_query=True)))
    await client.update_key(UpdateKeyRequest("grid-bot", nonce_window=5))
    await client.list_keys()
    await client.delete_key("grid-bot")
    await client.get_user_info()


async def test_nothing_is_run_or_made_where_nobody_listens(client: FastKeyClient, profiled: list[str]) -> None:
    """Without a hook, calls that succeed run no line of the events' modules, and make no event."""
    await _calls(client)
    assert [] == profiled


async def test_the_count_of_what_runs_sees_a_hook(observed: FastKeyClient, profiled: list[str]) -> None:
    """The same count finds what a hook costs, so that it cannot be blind."""
    await _calls(observed)
    assert 20 <= sum("attrs" in call or "__init__" in call for call in profiled)
    assert 20 == sum("_emitter.py: emit" == call for call in profiled)


class _Canned:
    """A transport that answers at once, so that what is measured is ours."""

    async def send(self, *_: object) -> WireResponse:
        """Return an empty list of keys."""
        return WireResponse(200, {"content-type": "application/json"}, b'{"result": []}', "complete", (1, 1))

    async def aclose(self) -> None:
        """Close nothing."""


async def test_what_a_hook_costs() -> None:
    """A measurement, printed: a call without a hook, with one that does nothing, and with OpenTelemetry's."""
    hooks = {"none": None, "a plain function": lambda _: None, "OpenTelemetry, no SDK": OpenTelemetryObserver()}
    clients = {
        name: FastKeyClient(StaticTokenProvider("FAKE"), on_event=hook, _transport=_Canned())
        for name, hook in hooks.items()
    }
    best = dict.fromkeys(clients, math.inf)
    for _ in range(5):  # in turn, and the best of each, so that other programs do not count
        for name, client in clients.items():
            began = time.thread_time()
            for _ in range(200):
                await client.list_keys()
            best[name] = min(best[name], (time.thread_time() - began) / 200)
    print(", ".join(f"{name}: {1e6 * seconds:.1f} us a call" for name, seconds in best.items()))
    for client in clients.values():
        await client.aclose()
    assert best["none"] < 2 * best["a plain function"]


def test_names_are_stable_and_differ() -> None:
    """Each class has a dotted name of its own, and all of their fields are known by name."""
    names = [kind.name for kind in event_classes()]
    assert len(names) == len(set(names))
    assert [] == [name for name in names if not re.fullmatch(r"kraken_fastkey(\.[a-z_]+)+", name)]
    for kind in event_classes():
        assert ["time", "call_id"] == [field.name for field in attrs.fields(kind)][:2]
        assert all(field.kw_only for field in attrs.fields(kind)[2:])


async def test_events_are_plain_values(observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox) -> None:
    """An event has numbers, strings and tuples of strings alone, so that it can be sent anywhere."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    await _calls(observed)
    for event in events:
        for value in attrs.asdict(event).values():
            assert value is None or isinstance(value, (str, int, float, tuple))
            assert not isinstance(value, tuple) or all(isinstance(part, str) for part in value)


async def test_records_have_the_event_and_its_fields(
    client: FastKeyClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A log record carries the event's name and fields under a prefix, and points to the code that told it."""
    caplog.set_level(logging.INFO, logger="kraken_fastkey")
    sandbox.faults.add(BUSY, operation="list_keys")
    await client.list_keys()
    (record,) = caplog.records
    fields = {name: value for name, value in vars(record).items() if name.startswith(_log_records.PREFIX)}
    assert {
        "kraken_fastkey_event": "kraken_fastkey.retry",
        "kraken_fastkey_call_id": None,
        "kraken_fastkey_operation": "list_keys",
        "kraken_fastkey_attempt": 1,
        "kraken_fastkey_wait_seconds": 0.25,
        "kraken_fastkey_error_type": "ServiceUnavailableError",
    } == fields
    assert "list_keys: attempt 1 failed with ServiceUnavailableError; the next in 0.25 s" == record.getMessage()
    assert ("_engine.py", "wait") == (record.filename, record.funcName)


async def test_records_of_a_hooked_client_have_the_call_s_number(
    observed: FastKeyClient, events: list[Event], sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """With a hook, the log and the events of a call can be brought together."""
    caplog.set_level(logging.INFO, logger="kraken_fastkey")
    sandbox.faults.add(BUSY, operation="list_keys")
    await observed.list_keys()
    numbers = {vars(record)["kraken_fastkey_call_id"] for record in caplog.records if record.name == "kraken_fastkey"}
    assert numbers == {event.call_id for event in events}


def test_every_text_of_the_log_fits_its_event() -> None:
    """Each text names fields that its event has."""
    kinds = {kind.name: kind for kind in event_classes()}
    for name, (level, text) in _log_records.RECORDS.items():
        assert level in {logging.INFO, logging.WARNING, logging.ERROR}
        fields = {field.name for field in attrs.fields(kinds[name])}
        assert set() == set(re.findall(r"%\((\w+)\)", text)) - fields


def test_no_other_module_logs() -> None:
    """All that is logged goes through events: no other module has a logger of the package's name."""
    root = Path(kraken_fastkey.__file__).parent
    # The command line finds the logger to show what it says.
    loggers = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if path.parent.name != "cli" and "getLogger(" in path.read_text(encoding="utf-8")
    }
    assert {"_log_records.py"} == loggers


async def test_errors_of_a_hooked_client_are_the_same(
    make_client: MakeClient, events: list[Event], sandbox: KrakenSandbox
) -> None:
    """A hook changes nothing in what a call raises."""
    texts = []
    for options in ({}, {"on_event": events.append}):
        sandbox.faults.add(BUSY, operation="get_user_info", times=4)
        with pytest.raises(FastKeyError) as caught:
            await make_client(**options).get_user_info()
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
