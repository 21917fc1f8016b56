"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import hypothesis
import pytest
from support import FakeTime, missing

from kraken_fastkey import FastKeyClient, StaticTokenProvider, TokenProvider
from kraken_fastkey.sandbox import KrakenSandbox

# A pytest that a test starts is not to take over the options of this run.
os.environ.pop("PYTEST_ADDOPTS", None)

# Runs are repeatable, and slow machines no failure.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci")


SLOW_FILES = {
    "test_adapters.py",
    "test_canary.py",
    "test_cli_exits.py",
    "test_cli_terminal.py",
    "test_crossing.py",
    "test_docs.py",
    "test_drops.py",
    "test_example_service.py",
    "test_frameworks.py",
    "test_fuzz.py",
    "test_lease_month.py",
    "test_nonces_processes.py",
    "test_outage.py",
    "test_plugin.py",
    "test_scale.py",
    "test_security_rules.py",
    "test_soak.py",
    "test_login_browser.py",
    "test_refreshing_processes.py",
    "test_file_processes.py",
    "test_properties.py",
    "test_redis.py",
    "test_refreshing_servers.py",
    "test_sql.py",
    "test_testing.py",
    "test_sandbox_openapi.py",
}


# The longest, which run no line that other tests do not: to trace them takes a minute.
UNTRACED_FILES = {
    "test_canary.py",
    "test_crossing.py",
    "test_drops.py",
    "test_fuzz.py",
    "test_lease_month.py",
    "test_outage.py",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the measurement of coverage rest, where there is one, while the longest tests run."""
    measurement = sys.modules.get("coverage")
    tracer = None if measurement is None else measurement.Coverage.current()
    if tracer is None or not (item.path.name in UNTRACED_FILES or "ten_thousand" in item.name):
        return (yield)
    tracer.stop()
    try:
        return (yield)
    finally:
        tracer.start()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the tests of the command line take."""
    parser.addoption(
        "--update-goldens", action="store_true", help="write what the command line prints into tests/cli/golden"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes seconds, so that CI runs it once and not for each Python."""
    for item in items:
        if item.path.name in SLOW_FILES or "ten_thousand" in item.name:
            item.add_marker(pytest.mark.slow)
        if item.path.name in {"test_redis.py", "test_sql.py"} and "eight_processes" not in item.name:
            item.add_marker(pytest.mark.extras)


@pytest.fixture(name="fake_time")
def _fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(name="sandbox")
async def _sandbox() -> AsyncIterator[KrakenSandbox]:
    async with KrakenSandbox() as sandbox:
        yield sandbox


@pytest.fixture(name="make_client")
async def _make_client(sandbox: KrakenSandbox, fake_time: FakeTime) -> AsyncIterator[Callable[..., FastKeyClient]]:
    """Make clients of the sandbox that wait in no real time, and close them in the end."""
    clients: list[FastKeyClient] = []

    def make(token_provider: TokenProvider | None = None, **options: Any) -> FastKeyClient:
        provider = StaticTokenProvider(sandbox.issue_token()) if token_provider is None else token_provider
        settings: dict[str, Any] = {"base_url": sandbox.base_url, "_runtime": fake_time.runtime} | options
        client = FastKeyClient(provider, **settings)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture(name="client")
async def _client(make_client: Callable[..., FastKeyClient]) -> FastKeyClient:
    return make_client()


@pytest.fixture(name="self_signed", scope="session")
def _self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return a server's side of TLS with a certificate that nobody has signed."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl")
    subprocess.run(  # arguments of our own
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
