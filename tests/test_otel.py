"""Spans and metrics of OpenTelemetry, read back from the SDK's own exporters in memory."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from opentelemetry import context as otel_context, trace
from opentelemetry.sdk.metrics.export import Histogram
from opentelemetry.semconv.attributes import (
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.metrics import http_metrics
from opentelemetry.trace import SpanKind, StatusCode
from telemetry import Telemetry

from kraken_fastkey import (
    AttemptEnded,
    CallEnded,
    CreateKeyRequest,
    Event,
    FastKeyClient,
    LeaseRotationEnded,
    OAuthClient,
    OrphanSuspected,
    RefreshEnded,
    RefreshingTokenProvider,
    ServiceUnavailableError,
    StaticTokenProvider,
    TransportError,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey.otel import OpenTelemetryObserver
from kraken_fastkey.sandbox import Answer, Disconnect, Hang, KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore

MakeClient = Callable[..., FastKeyClient]
BUSY = Answer(503, {"error": ["EService:Busy"]})
METRIC_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (Path(__file__).parent.parent / "docs/reference/events.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| `[\w.]+` \| (counter|histogram|gauge) ", line)
]
CALL_SECONDS = "kraken_fastkey.call.duration"


@pytest.fixture(name="telemetry")
def _telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.close()


@pytest.fixture(name="observed")
def _observed(make_client: MakeClient, telemetry: Telemetry) -> FastKeyClient:
    return make_client(on_event=telemetry.observer)


async def test_a_call_that_succeeds(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """One internal span for the call, and below it one of a client for its request, as the conventions have them."""
    await observed.create_key(CreateKeyRequest("grid-bot"))
    assert ["kraken_fastkey.create_key", "  POST 200"] == telemetry.tree()
    call, attempt = telemetry.spans
    assert (SpanKind.INTERNAL, SpanKind.CLIENT) == (call.kind, attempt.kind)
    assert {StatusCode.UNSET} == {call.status.status_code, attempt.status.status_code}
    attributes = dict(call.attributes or {})
    assert isinstance(attributes.pop("kraken_fastkey.call_id"), int)
    assert {
        "kraken_fastkey.operation": "create_key",
        "kraken_fastkey.api_key_name": "grid-bot",
        "kraken_fastkey.attempts": 1,
        "kraken_fastkey.outcome": "succeeded",
    } == attributes
    assert {
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        url_attributes.URL_FULL: f"{sandbox.base_url}/fast-api-key",
        server_attributes.SERVER_ADDRESS: "127.0.0.1",
        server_attributes.SERVER_PORT: urlsplit(sandbox.base_url).port,
        network_attributes.NETWORK_PROTOCOL_VERSION: "1.1",
        "kraken_fastkey.operation": "create_key",
        "kraken_fastkey.outcome": "succeeded",
    } == dict(attempt.attributes or {})
    scope = call.instrumentation_scope
    assert scope is not None
    assert ("kraken_fastkey", "https://opentelemetry.io/schemas/1.23.1") == (scope.name, scope.schema_url)


async def test_a_retry(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """Each attempt has a span of its own; only the failed one is an error; the wait is an event of the call."""
    sandbox.faults.add(BUSY, operation="list_keys")
    await observed.list_keys()
    assert ["kraken_fastkey.list_keys", "  GET 503 ERROR 503", "  GET 200 again 1"] == telemetry.tree()
    (event,) = telemetry.spans[0].events
    assert "kraken_fastkey.retry" == event.name
    assert {
        "kraken_fastkey.operation": "list_keys",
        "kraken_fastkey.attempt": 1,
        "kraken_fastkey.wait_seconds": 0.25,
        "kraken_fastkey.error_type": "ServiceUnavailableError",
    } == dict(event.attributes or {})
    assert ("EService:Busy",) == (telemetry.spans[1].attributes or {})["kraken_fastkey.codes"]


async def test_a_call_that_fails(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """The call is an error of its exception's class."""
    sandbox.faults.add(BUSY, operation="list_keys", times=None)
    with pytest.raises(ServiceUnavailableError):
        await observed.list_keys()
    assert [
        "kraken_fastkey.list_keys ERROR ServiceUnavailableError",
        "  GET 503 ERROR 503",
        "  GET 503 again 1 ERROR 503",
        "  GET 503 again 2 ERROR 503",
        "  GET 503 again 3 ERROR 503",
    ] == telemetry.tree()


async def test_an_error_within_an_answer_that_is_fine(
    observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox
) -> None:
    """Kraken's errors come with status 200: such an attempt is an error of its exception's class."""
    sandbox.faults.add(Answer(200, {"error": ["EAPI:Rate limit exceeded"]}), operation="list_keys")
    await observed.list_keys()
    assert ["kraken_fastkey.list_keys", "  GET 200 ERROR RateLimitedError", "  GET 200 again 1"] == telemetry.tree()


async def test_a_network_that_fails(make_client: MakeClient, telemetry: Telemetry) -> None:
    """Without an answer there is no status, and the type of error is the exception's class."""
    client = make_client(StaticTokenProvider("FAKE"), base_url="http://localhost:1", on_event=telemetry.observer)
    with pytest.raises(TransportError):
        await client.get_user_info()
    assert "  GET ERROR TransportError" == telemetry.tree()[1]
    assert "network.protocol.version" not in (telemetry.spans[1].attributes or {})


async def test_a_lost_answer_and_its_reconciliation(
    observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox
) -> None:
    """What is sent in a call's reconciliation is below the call, though it runs in tasks of the background."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    await observed.create_key(CreateKeyRequest("grid-bot"))
    assert [
        "kraken_fastkey.create_key",
        "  POST ERROR TransportError",
        "  GET 200",
        "  DELETE 200",
        "  POST 200 again 1",
    ] == telemetry.tree()
    assert [
        "kraken_fastkey.reconcile.start",
        "kraken_fastkey.reconcile.look",
        "kraken_fastkey.orphan.delete",
        "kraken_fastkey.retry",
        "kraken_fastkey.reconcile.end",
    ] == [event.name for event in telemetry.spans[0].events]


async def test_a_cancelled_call(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """The call's span lasts until the key that nobody took is deleted, and is an error: it was cancelled."""
    task = asyncio.create_task(observed.create_key(CreateKeyRequest("grid-bot")))
    while not sandbox.keys():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await observed.aclose()
    assert ["kraken_fastkey.create_key ERROR CancelledError", "  POST 200", "  DELETE 200"] == telemetry.tree()


async def test_a_cancelled_read(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """A request that was cut off has no answer, and an error's type."""
    sandbox.faults.add(Hang(), operation="list_keys")
    task = asyncio.create_task(observed.list_keys())
    while not sandbox.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ["kraken_fastkey.list_keys ERROR CancelledError", "  GET ERROR CancelledError"] == telemetry.tree()


async def test_what_cannot_be_found_out(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """A doubt that is not settled is counted as such."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    sandbox.faults.add(Answer(403, {"error": ["EGeneral:Permission denied"]}), operation="list_keys", times=None)
    with pytest.raises(UnknownOutcomeError):
        await observed.create_key(CreateKeyRequest("grid-bot"))
    assert [
        (
            {
                "kraken_fastkey.operation": "create_key",
                "kraken_fastkey.settled": False,
                "error.type": "UnknownOutcomeError",
            },
            1,
        )
    ] == telemetry.points()["kraken_fastkey.reconciles"]


@pytest.fixture(name="login")
async def _login(sandbox: KrakenSandbox) -> AsyncIterator[Callable[..., Awaitable[RefreshingTokenProvider]]]:
    """Log a user in, and return where the tokens come from."""
    clients: list[OAuthClient] = []

    async def log_in(telemetry: Telemetry) -> RefreshingTokenProvider:
        oauth = OAuthClient(
            sandbox.client_id,
            redirect_uri="http://127.0.0.1:8765/callback",
            authorize_url=sandbox.authorize_url,
            token_url=sandbox.token_url,
            on_event=telemetry.observer,
        )
        clients.append(oauth)
        request = oauth.authorization_request()
        store = MemoryGrantStore()
        code = oauth.read_callback(sandbox.approve(request.url), request)
        await store.save(await oauth.exchange_code(code, request))
        telemetry.exporter.clear()
        return RefreshingTokenProvider(oauth, store)

    yield log_in
    for client in clients:
        await client.aclose()


Login = Callable[[Telemetry], Awaitable[RefreshingTokenProvider]]


async def test_a_refused_token_and_its_refresh(
    make_client: MakeClient, telemetry: Telemetry, sandbox: KrakenSandbox, login: Login
) -> None:
    """A refresh is a span below the call that needs it, with its own request below it."""
    provider = await login(telemetry)
    client = make_client(provider, on_event=telemetry.observer)
    await provider.get_token()
    telemetry.exporter.clear()
    sandbox.expire_access_tokens()
    await client.list_keys()
    assert [
        "kraken_fastkey.list_keys",
        "  GET 401 ERROR 401",
        "  kraken_fastkey.refresh",
        "    POST 200",
        "  GET 200 again 1",
    ] == telemetry.tree()
    refresh = telemetry.spans[2]
    assert {"kraken_fastkey.result": "refreshed", "kraken_fastkey.generation": 2} == dict(refresh.attributes or {})
    results = {point["kraken_fastkey.result"]: value for point, value in telemetry.points()["kraken_fastkey.refreshes"]}
    assert {"adopted": 1, "refreshed": 1} == results


async def test_a_refresh_that_fails(telemetry: Telemetry, sandbox: KrakenSandbox, login: Login) -> None:
    """A grant that was revoked: the refresh is an error, with the cause."""
    provider = await login(telemetry)
    token = await provider.get_token()
    telemetry.exporter.clear()
    sandbox.revoke_grant()
    with pytest.raises(Exception, match="have the user log in again"):
        await provider.get_token(rejected=token)
    assert [
        "kraken_fastkey.refresh ERROR ReauthorizationRequiredError",
        "  POST 400 ERROR 400",
    ] == telemetry.tree()
    assert "revoked" == (telemetry.spans[0].attributes or {})["kraken_fastkey.cause"]


async def test_the_caller_s_span_is_the_parent(observed: FastKeyClient, telemetry: Telemetry) -> None:
    """A call is below the span that it was made in, and leaves that as the present one."""
    tracer = telemetry.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("request") as request:
        await observed.create_key(CreateKeyRequest("grid-bot"))
        await observed.list_keys()
        assert request is trace.get_current_span()
    assert [
        "request",
        "  kraken_fastkey.create_key",
        "    POST 200",
        "  kraken_fastkey.list_keys",
        "    GET 200",
    ] == telemetry.tree()


async def test_calls_at_once_keep_their_spans_apart(observed: FastKeyClient, telemetry: Telemetry) -> None:
    """Calls that run at once have a tree each."""
    await asyncio.gather(*(observed.create_key(CreateKeyRequest(f"bot-{number}")) for number in range(10)))
    calls = [span for span in telemetry.spans if span.parent is None]
    assert 10 == len(calls)
    parents = [span.parent.span_id for span in telemetry.spans if span.parent is not None]
    assert sorted(parents) == sorted(context.span_id for span in calls if (context := span.get_span_context()))


async def test_a_coroutine_that_is_thrown_away_leaves_no_span_behind(
    observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Closed where another span is the present one, a call ends its own, and leaves the other alone."""
    sandbox.faults.add(Hang(), operation="list_keys")
    coroutine = observed.list_keys()
    coroutine.send(None)
    tracer = telemetry.tracer_provider.get_tracer("app")
    inner = otel_context.attach(otel_context.Context())
    with tracer.start_as_current_span("elsewhere") as elsewhere:
        coroutine.close()
        assert elsewhere is trace.get_current_span()
    otel_context.detach(inner)
    assert "kraken_fastkey.list_keys ERROR GeneratorExit" in telemetry.tree()
    assert "Failed to detach" not in caplog.text


async def test_the_metrics(observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """Durations, retries, searches and deleted orphans, with attributes of few values."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    await observed.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(Answer(200, {"error": ["EGeneral:Temporary lockout"]}), operation="list_keys")
    with pytest.raises(Exception, match="Temporary lockout"):
        await observed.list_keys()
    points = telemetry.points()
    documented = {row[0].strip("`"): set(re.findall(r"`([\w.]+)`", row[3])) for row in METRIC_ROWS}
    for name, found in points.items():
        assert set() == {attribute for attributes, _ in found for attribute in attributes} - documented[name]
    assert {
        http_metrics.HTTP_CLIENT_REQUEST_DURATION,
        CALL_SECONDS,
        "kraken_fastkey.retries",
        "kraken_fastkey.reconciles",
        "kraken_fastkey.orphans.deleted",
        "kraken_fastkey.lockouts",
    } == set(points)
    operation = {"kraken_fastkey.operation": "create_key"}
    assert [(operation | {"error.type": "TransportError"}, 1)] == points["kraken_fastkey.retries"]
    assert [(operation | {"kraken_fastkey.settled": True}, 1)] == points["kraken_fastkey.reconciles"]
    assert [({}, 1)] == points["kraken_fastkey.orphans.deleted"]
    assert [({}, 1)] == points["kraken_fastkey.lockouts"]
    assert [
        (operation | {"kraken_fastkey.outcome": "succeeded"}, 1),
        (
            {
                "kraken_fastkey.operation": "list_keys",
                "kraken_fastkey.outcome": "refused",
                "error.type": "TemporaryLockoutError",
            },
            1,
        ),
    ] == points[CALL_SECONDS]
    where = {"server.address": "127.0.0.1", "server.port": urlsplit(sandbox.base_url).port}
    fine = {"http.response.status_code": 200, "network.protocol.version": "1.1"}
    expected = [
        (operation | where | {"http.request.method": "POST", "error.type": "TransportError"}, 1),
        ({"kraken_fastkey.operation": "list_keys", "http.request.method": "GET"} | where | fine, 1),
        ({"kraken_fastkey.operation": "delete_key", "http.request.method": "DELETE"} | where | fine, 1),
        (operation | {"http.request.method": "POST"} | where | fine, 1),
        (
            {"kraken_fastkey.operation": "list_keys", "http.request.method": "GET"}
            | where
            | fine
            | {"error.type": "TemporaryLockoutError"},
            1,
        ),
    ]
    assert expected == points[http_metrics.HTTP_CLIENT_REQUEST_DURATION]


async def test_the_histogram_has_the_conventions_buckets(observed: FastKeyClient, telemetry: Telemetry) -> None:
    """Seconds, in the buckets that the conventions advise."""
    await observed.list_keys()
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    metrics = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    duration = metrics[http_metrics.HTTP_CLIENT_REQUEST_DURATION]
    assert "s" == duration.unit
    assert isinstance(duration.data, Histogram)
    assert (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10) == tuple(
        duration.data.data_points[0].explicit_bounds
    )


async def test_suspects_are_counted(make_client: MakeClient, telemetry: Telemetry, sandbox: KrakenSandbox) -> None:
    """A key of which the client could not make sure is what an alarm is for."""
    client = make_client(on_event=telemetry.observer, close_timeout=0.01)
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    sandbox.faults.add(BUSY, operation="delete_key", times=None)
    sandbox.faults.add(BUSY, operation="list_keys", times=None)
    await client.create_key(CreateKeyRequest())
    await client.aclose()
    assert [({}, 1)] == telemetry.points()["kraken_fastkey.orphans.suspected"]


async def test_nothing_is_kept_when_all_has_ended(
    observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox
) -> None:
    """The observer holds spans that have not ended, and no others."""
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    await observed.create_key(CreateKeyRequest("grid-bot"))
    observer = telemetry.observer
    assert ({}, {}, {}) == (observer._calls, observer._attempts, observer._refreshing)


async def test_no_secret_and_no_name_gets_out(
    observed: FastKeyClient, telemetry: Telemetry, sandbox: KrakenSandbox
) -> None:
    """No token, key or secret is in a span or a metric, and no key's name in a metric."""
    key = await observed.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(Disconnect(commit=True), operation="update_key")
    await observed.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="swing-bot"))
    await observed.delete_key("swing-bot")
    spans = "".join(span.to_json() for span in telemetry.spans)
    metrics = repr(telemetry.reader.get_metrics_data())
    sent = {header for request in sandbox.requests for header in [request.headers["authorization"].partition(" ")[2]]}
    secrets = {key.secret.get_secret_value(), str(key.api_key), *sent}
    assert 3 == len(secrets)
    assert [] == [secret for secret in secrets if secret in spans + metrics]
    assert "grid-bot" in spans
    assert "-bot" not in metrics


UNSEEN: list[tuple[Event, str]] = [
    (CallEnded(0.0, 5, operation="list_keys", seconds=1.0, attempts=1, outcome="succeeded"), CALL_SECONDS),
    (
        AttemptEnded(
            0.0,
            5,
            operation="list_keys",
            attempt_id=6,
            attempt=1,
            method="GET",
            url="https://api.kraken.com/oauth/fast-api-keys",
            seconds=1.0,
            outcome="succeeded",
            status=200,
        ),
        http_metrics.HTTP_CLIENT_REQUEST_DURATION,
    ),
    (RefreshEnded(0.0, None, refresh_id=7, generation=2, seconds=1.0), "kraken_fastkey.refreshes"),
    (
        LeaseRotationEnded(0.0, None, lease_id=8, rotation_id=9, reason="due", seconds=1.0, result="made"),
        "kraken_fastkey.lease.rotations",
    ),
    (OrphanSuspected(0.0, None, api_key_name="grid-bot"), "kraken_fastkey.orphans.suspected"),
]


@pytest.mark.parametrize(("event", "metric"), UNSEEN, ids=[event.name for event, _ in UNSEEN])
def test_ends_of_what_began_unseen_are_counted(telemetry: Telemetry, event: Event, metric: str) -> None:
    """An observer that did not see the start counts the end all the same, and makes no span."""
    telemetry.observer(event)
    assert [] == telemetry.tree()
    ((attributes, value),) = telemetry.points()[metric]
    assert 1 == value
    assert "kraken_fastkey.api_key_name" not in attributes


def test_the_port_of_an_address_without_one(telemetry: Telemetry) -> None:
    """It is the scheme's, as the conventions ask for it."""
    telemetry.observer(UNSEEN[1][0])
    ((attributes, _),) = telemetry.points()[http_metrics.HTTP_CLIENT_REQUEST_DURATION]
    assert ("api.kraken.com", 443) == (attributes["server.address"], attributes["server.port"])


async def test_without_an_sdk_nothing_happens(make_client: MakeClient) -> None:
    """With OpenTelemetry's API alone, the observer does no harm."""
    client = make_client(on_event=OpenTelemetryObserver())
    await client.create_key(CreateKeyRequest("grid-bot"))
    assert not trace.get_current_span().get_span_context().is_valid


def test_the_extra_that_is_missing_is_told() -> None:
    """Where OpenTelemetry is not installed, the import says what to install."""
    program = """
import sys
sys.modules["opentelemetry"] = None
import kraken_fastkey.otel
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert "ModuleNotFoundError: kraken_fastkey.otel needs OpenTelemetry's API" in done.stderr
    assert "pip install 'kraken-fastkey[otel]'" in done.stderr
