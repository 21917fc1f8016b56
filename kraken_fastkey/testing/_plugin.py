"""The plugin of pytest: its fixtures, and its look for leaks.

pytest imports this module at each start, whatever it is to test. So it imports nothing but pytest: what a fixture
needs is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

try:
    import pytest_asyncio
except ModuleNotFoundError:
    pytest_asyncio = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from kraken_fastkey import FastKeyClient, Grant, OAuthClient, TokenProvider
    from kraken_fastkey.sandbox import Faults, KrakenSandbox
    from kraken_fastkey.stores import GrantStore
    from kraken_fastkey.testing._clock import KrakenClock


class _Closable(Protocol):
    async def aclose(self) -> None: ...


_ClosableT = TypeVar("_ClosableT", bound=_Closable)
_LEAK_CHECKED = pytest.StashKey["KrakenSandbox"]()


@pytest.fixture
def kraken_clock() -> Iterator[KrakenClock]:
    """The time of the test: it stands still, and moves by `await kraken_clock.travel(hours=5)`."""
    from kraken_fastkey.testing._clock import KrakenClock

    clock = KrakenClock()
    with clock.running():
        yield clock


@pytest.fixture
def kraken_sandbox_options() -> dict[str, Any]:
    """Arguments of `kraken_sandbox`, such as `{"max_keys": 2}`: override it in your tests."""
    return {}


@pytest.fixture
def kraken_sandbox(kraken_clock: KrakenClock, kraken_sandbox_options: dict[str, Any]) -> Iterator[KrakenSandbox]:
    """A `KrakenSandbox` that listens, in a thread of its own, and lives in the time of `kraken_clock`."""
    from kraken_fastkey.testing._threaded import running_sandbox

    with running_sandbox(kraken_clock, kraken_sandbox_options) as sandbox:
        yield sandbox


@pytest.fixture
def kraken_faults(kraken_sandbox: KrakenSandbox) -> Faults:
    """What shall go wrong: `kraken_faults.add(FAULTS["429"], operation="create_key")`."""
    return kraken_sandbox.faults


@pytest.fixture
def kraken_token(kraken_sandbox: KrakenSandbox) -> str:
    """An access token that may do everything, for 4 hours of `kraken_clock`."""
    return kraken_sandbox.issue_token()


@pytest.fixture
def kraken_grant(kraken_sandbox: KrakenSandbox) -> Grant:
    """What a user has granted who has just logged in: an access token for 4 hours, and a refresh token."""
    from kraken_fastkey.testing._login import log_in

    return log_in(kraken_sandbox)


@pytest.fixture
def kraken_grant_store(kraken_sandbox: KrakenSandbox, kraken_grant: Grant) -> GrantStore:
    """A `MemoryGrantStore` that holds `kraken_grant`."""
    from kraken_fastkey.testing._login import store_with

    return store_with(kraken_grant, kraken_sandbox)


@pytest.fixture
def kraken_oauth_client(request: pytest.FixtureRequest, kraken_sandbox: KrakenSandbox) -> OAuthClient:
    """An `OAuthClient` of the sandbox's public app. It is closed after the test."""
    from kraken_fastkey.testing._login import oauth_client_of

    return _closed_after_the_test(oauth_client_of(kraken_sandbox), request)


@pytest.fixture
def kraken_token_provider(
    request: pytest.FixtureRequest, kraken_oauth_client: OAuthClient, kraken_grant_store: GrantStore
) -> TokenProvider:
    """A `RefreshingTokenProvider` of a user who has logged in. It is closed after the test."""
    from kraken_fastkey import RefreshingTokenProvider

    return _closed_after_the_test(RefreshingTokenProvider(kraken_oauth_client, kraken_grant_store), request)


@pytest.fixture
def kraken_client(
    request: pytest.FixtureRequest, kraken_sandbox: KrakenSandbox, kraken_token_provider: TokenProvider
) -> FastKeyClient:
    """A `FastKeyClient` of the sandbox, with tokens from `kraken_token_provider`. It is closed after the test."""
    from kraken_fastkey import FastKeyClient

    return _closed_after_the_test(FastKeyClient(kraken_token_provider, base_url=kraken_sandbox.base_url), request)


@pytest.fixture
def kraken_leak_check(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, kraken_sandbox: KrakenSandbox
) -> None:
    """Let the test fail if a secret of the sandbox's is in what it has printed, or logged at any level."""
    caplog.set_level("DEBUG")
    request.node.stash[_LEAK_CHECKED] = kraken_sandbox


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look for secrets in what pytest has captured of a test that asked for it."""
    report = yield
    sandbox = item.stash.get(_LEAK_CHECKED, None)
    if sandbox is not None and report.passed:
        from kraken_fastkey.testing._leaks import find_leaks

        leaks = find_leaks(report.sections, sandbox.secrets)
        if leaks:
            report.outcome = "failed"
            report.longrepr = "\n".join(["secrets of the sandbox came to light:", *leaks])
            del item.stash[_LEAK_CHECKED]  # told once
    return report


def _closed_after_the_test(closable: _ClosableT, request: pytest.FixtureRequest) -> _ClosableT:
    """Have something closed in the event loop that it is used in, before that ends."""
    stack = _closing_stack(request)
    if stack is not None:
        stack.push_async_callback(closable.aclose)
    return closable


def _closing_stack(request: pytest.FixtureRequest) -> AsyncExitStack | None:
    """Return what is closed in the test's event loop; `None` for a test that has none, and closes itself."""
    marker = request.node.get_closest_marker("asyncio")
    by_asyncio = marker is not None and request.config.pluginmanager.has_plugin("asyncio")
    by_anyio = "anyio_backend" in request.fixturenames
    if by_asyncio and by_anyio:
        pytest.fail(
            "pytest-asyncio and anyio both take this test, and run it in one event loop and its fixtures in another: "
            "set pytest-asyncio's asyncio_mode to 'strict'",
            pytrace=False,
        )
    if by_anyio:
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            pytest.skip(f"kraken_fastkey needs asyncio, and this test runs on {backend}: aiohttp knows nothing else")
        name = "_kraken_closing_anyio"
    elif marker is not None and by_asyncio:
        default = request.config.getini("asyncio_default_test_loop_scope")
        name = f"_kraken_closing_{marker.kwargs.get('loop_scope') or marker.kwargs.get('scope') or default}"
    else:
        return None
    stack: AsyncExitStack = request.getfixturevalue(name)
    return stack


@pytest.fixture(name="_kraken_closing_anyio")
async def _closing_anyio(anyio_backend: object) -> AsyncIterator[AsyncExitStack]:  # noqa: ARG001  # has anyio run it
    async with AsyncExitStack() as stack:
        yield stack


if pytest_asyncio is not None:
    # The event loop of a fixture is chosen where it is defined, and must be the one of the test.
    _asyncio_fixture = pytest_asyncio.fixture

    def _closing_fixture(loop_scope: Any) -> Any:
        async def close() -> AsyncIterator[AsyncExitStack]:
            async with AsyncExitStack() as stack:
                yield stack

        return _asyncio_fixture(close, name=f"_kraken_closing_{loop_scope}", loop_scope=loop_scope)

    _closing_function = _closing_fixture("function")
    _closing_class = _closing_fixture("class")
    _closing_module = _closing_fixture("module")
    _closing_package = _closing_fixture("package")
    _closing_session = _closing_fixture("session")
