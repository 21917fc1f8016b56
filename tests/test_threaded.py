"""The sandbox of the fixtures: in a thread of its own, and safe to speak to from others."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kraken_fastkey import CreateKeyRequest, FastKeyClient, StaticTokenProvider
from kraken_fastkey.sandbox import FAULTS, Answer, KrakenSandbox
from kraken_fastkey.testing import KrakenClock
from kraken_fastkey.testing._leaks import find_leaks
from kraken_fastkey.testing._login import log_in
from kraken_fastkey.testing._threaded import LoopThread, ThreadedSandbox, running_sandbox


@pytest.fixture(name="threaded")
def _threaded() -> Iterator[ThreadedSandbox]:
    with running_sandbox(KrakenClock(), {}) as sandbox:
        yield sandbox


PUBLIC = [name for name in dir(KrakenSandbox) if not name.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_member_works_in_the_thread(name: str) -> None:
    """Each method and property, those that come later as well, does its work in the sandbox's thread."""
    wrapped = inspect.getattr_static(ThreadedSandbox, name)
    original = inspect.getattr_static(KrakenSandbox, name)
    assert wrapped is not original
    assert wrapped.__doc__ == original.__doc__
    if isinstance(wrapped, property):
        assert (original.fset is None) == (wrapped.fset is None)
        inside: Any = wrapped.fget
    else:
        inside = wrapped
    assert inspect.unwrap(inside) is not inside


def test_calls_run_in_the_sandbox_s_thread(threaded: ThreadedSandbox) -> None:
    """A call from the test's thread runs in the other; from there, it runs at once."""
    threads = [threaded.thread.call(threading.current_thread) for _ in range(2)]
    assert threads[0] is threads[1]
    assert threading.current_thread() not in threads
    assert threads[0] is threaded.thread.call(lambda: threaded.thread.call(threading.current_thread))


def test_errors_come_back(threaded: ThreadedSandbox) -> None:
    """What a method raises is raised in the thread that called it."""
    with pytest.raises(ValueError, match="no key named 'none'"):
        threaded.revoke_key("none")
    with pytest.raises(ValueError, match="number of seconds"):
        threaded.clock_skew = float("nan")


def test_properties_can_be_set(threaded: ThreadedSandbox) -> None:
    """A setting reaches the sandbox."""
    threaded.list_lag = 45
    assert 45 == threaded.list_lag


async def test_many_threads_at_once(threaded: ThreadedSandbox) -> None:
    """Requests, and what threads beside them ask of the sandbox and add to its faults, do not get into one another."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                threaded.keys()
                threaded.faults.add(Answer(429), operation="get_user_info")
                threaded.faults.clear()
                threaded.issue_token()
                list(threaded.requests)
        except BaseException as error:  # noqa: BLE001  # shown by the test
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        async with FastKeyClient(StaticTokenProvider(threaded.issue_token()), base_url=threaded.base_url) as client:
            await asyncio.gather(*(client.create_key(CreateKeyRequest(f"key-{number}")) for number in range(40)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [] == errors
    assert {f"key-{number}" for number in range(40)} == {key.api_key_name for key in threaded.keys()}


async def test_it_can_be_closed_and_started_from_a_loop(threaded: ThreadedSandbox) -> None:
    """The coroutines of the sandbox are awaited in the test's loop, and run in its own."""
    token = threaded.issue_token()
    await threaded.aclose()
    await threaded.start()
    async with FastKeyClient(StaticTokenProvider(token), base_url=threaded.base_url) as client:
        assert () == await client.list_keys()


def test_it_can_be_looked_at_after_its_end() -> None:
    """When the thread has ended, what was in the sandbox can still be seen; it does not start again."""
    with running_sandbox(KrakenClock(), {}) as sandbox:
        token = sandbox.issue_token()
    assert () == sandbox.keys()
    assert token in sandbox.secrets
    with pytest.raises(RuntimeError, match="the test has ended"):
        asyncio.run(sandbox.start())


def test_thread_ends_though_something_runs_in_it() -> None:
    """What still runs in the thread is cancelled at its end."""
    thread = LoopThread()
    thread.start()
    began = thread.call(threading.current_thread)
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        return task

    thread.run(begin())
    thread.stop()
    assert ["cancelled"] == ended
    assert not began.is_alive()


def test_login_at_another_sandbox_is_refused() -> None:
    """A sandbox without a thread could not answer while a fixture waits, so that is said."""
    with pytest.raises(TypeError, match="kraken_sandbox"):
        log_in(KrakenSandbox())


async def test_open_requests_are_counted(threaded: ThreadedSandbox) -> None:
    """A request that hangs is open until it has gone."""
    threaded.faults.add(FAULTS["hang"])
    async with FastKeyClient(StaticTokenProvider(threaded.issue_token()), base_url=threaded.base_url) as client:
        task = asyncio.create_task(client.list_keys())
        while not threaded.open_requests:
            await asyncio.sleep(0.001)
        assert 1 == threaded.open_requests
        task.cancel()
        while threaded.open_requests:
            await asyncio.sleep(0.001)
    assert task.cancelled()


async def test_secrets_are_all_that_was_made(threaded: ThreadedSandbox) -> None:
    """Tokens, refresh tokens and keys' secrets are among the sandbox's secrets, and a key's public half is not."""
    grant = log_in(threaded)
    async with FastKeyClient(StaticTokenProvider(threaded.issue_token()), base_url=threaded.base_url) as client:
        key = await client.create_key(CreateKeyRequest())
    secrets = {
        grant.access_token.get_secret_value(),
        grant.refresh_token.get_secret_value() if grant.refresh_token else "",
        key.secret.get_secret_value(),
    }
    assert secrets <= threaded.secrets
    assert key.api_key not in threaded.secrets
    assert 5 == len(threaded.secrets)  # the code of the login, and the token of the client


def test_leak_is_told_without_the_secret() -> None:
    """Each place is told with the line that it is in, and each form of the secret is masked."""
    secret = "AbC/+dEf=="
    sections = [
        ("Captured stdout call", f"first\nkey {secret} and {secret}\n"),
        ("Captured log call", "AbC%2F%2BdEf%3D%3D"),
    ]
    assert [
        "Captured stdout call, line 2: key <secret> and <secret>",
        "Captured log call, line 1: <secret>",
    ] == find_leaks(sections, [secret])
    assert [] == find_leaks([("Captured stdout call", "AbC")], [secret])
