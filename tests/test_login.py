"""The login on a desktop: the real server on loopback, with a browser that is a few lines of this file."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support import assert_clean

from kraken_fastkey import InvalidRequestError, OAuthError, Permissions, StoreError
from kraken_fastkey._grant import Grant
from kraken_fastkey._login import login
from kraken_fastkey._oauth import OAuthClient
from kraken_fastkey.sandbox import Answer, KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore


@pytest.fixture(name="oauth")
async def _oauth(sandbox: KrakenSandbox) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(
        sandbox.client_id,
        redirect_uri="http://127.0.0.1/callback",
        authorize_url=sandbox.authorize_url,
        token_url=sandbox.token_url,
    ) as client:
        yield client


class Browser:
    """Opens an address as a user would: goes where the server sends it, and notes the last page."""

    def __init__(self, sandbox: KrakenSandbox, *, deny: bool = False, tamper: str = "", hits: int = 1) -> None:
        self.sandbox = sandbox
        self.deny = deny
        self.tamper = tamper
        self.hits = hits
        self.url = ""
        self.pages: list[tuple[int, str, dict[str, str]]] = []

    def open(self, url: str) -> bool:
        """Come back from the login in a thread of the browser's own."""
        self.url = url
        callback = self.sandbox.deny(url) if self.deny else self.sandbox.approve(url)
        if self.tamper:
            callback = callback.replace("state=", f"state={self.tamper}")
        self._thread = threading.Thread(target=self._visit, args=(callback,))
        self._thread.start()
        return True

    def _visit(self, callback: str) -> None:
        for _ in range(self.hits):
            try:
                with urllib.request.urlopen(callback, timeout=10) as answer:  # noqa: S310  # loopback
                    self.pages.append((answer.status, answer.read().decode(), dict(answer.headers)))
            except (OSError, urllib.error.URLError) as error:
                self.pages.append((0, str(error), {}))

    async def closed(self) -> None:
        """Wait for the browser's thread."""
        await asyncio.to_thread(self._thread.join)


async def test_login(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """The browser opens, comes back to a free port, sees a clear page; the grant is returned, and stored."""
    browser, store = Browser(sandbox), MemoryGrantStore()
    grant = await login(
        oauth, Permissions(funds_query=True), store=store, open_browser=browser.open, language="de", prefer_theme="dark"
    )
    await browser.closed()
    assert grant == await store.load()
    assert 1 == grant.generation
    assert grant.scopes is not None
    assert "account.fast-api-key:funds-query" in grant.scopes
    redirect = urlsplit(parse_qs(urlsplit(browser.url).query)["redirect_uri"][0])
    assert ("127.0.0.1", "/callback") == (redirect.hostname, redirect.path)
    assert redirect.port
    ((status, page, headers),) = browser.pages
    assert (200, True) == (status, "You are logged in" in page)
    assert ("no-store", "no-referrer") == (headers["Cache-Control"], headers["Referrer-Policy"])
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_the_server_ends_with_the_login(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """After its one callback nobody listens any more."""
    browser = Browser(sandbox)
    await login(oauth, open_browser=browser.open)
    await browser.closed()
    redirect = urlsplit(parse_qs(urlsplit(browser.url).query)["redirect_uri"][0])
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", redirect.port)


async def test_a_denied_login(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """The user's no is a typed error, and a page that says so; nothing is stored."""
    browser, store = Browser(sandbox, deny=True), MemoryGrantStore()
    with pytest.raises(OAuthError, match="access_denied"):
        await login(oauth, store=store, open_browser=browser.open)
    await browser.closed()
    assert "The login did not work" in browser.pages[0][1]
    assert await store.load() is None


async def test_a_callback_of_another_tab(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """A state that is not this login's is refused: no exchange, nothing stored, and no code in the error."""
    browser, store = Browser(sandbox, tamper="x"), MemoryGrantStore()
    with pytest.raises(OAuthError, match="state is not this login's") as caught:
        await login(oauth, store=store, open_browser=browser.open)
    await browser.closed()
    assert await store.load() is None
    assert "token" not in [entry.operation for entry in sandbox.requests]
    assert_clean(caught.value)


async def test_an_exchange_that_fails(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """The page and the error tell that the login did not work."""
    sandbox.faults.add(Answer(400, {"error": "invalid_grant"}), operation="token")
    browser = Browser(sandbox)
    with pytest.raises(OAuthError) as caught:
        await login(oauth, open_browser=browser.open)
    await browser.closed()
    assert ("invalid_grant",) == caught.value.codes
    assert "The login did not work" in browser.pages[0][1]


async def test_a_store_that_fails(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """Nobody is told that a login worked whose grant could not be saved."""

    class Broken(MemoryGrantStore):
        async def save(self, grant: Grant) -> Grant:
            """Fail."""
            raise StoreError(f"disk full, generation {grant.generation}")

    browser = Browser(sandbox)
    with pytest.raises(StoreError, match="disk full"):
        await login(oauth, store=Broken(), open_browser=browser.open)
    await browser.closed()
    assert "The login did not work" in browser.pages[0][1]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_where_there_is_no_browser(oauth: OAuthClient, sandbox: KrakenSandbox, *, asynchronous: bool) -> None:
    """The address is shown, opened elsewhere, and the address that came of it pasted back."""

    def ask(url: str) -> str:
        return sandbox.approve(url)

    async def ask_later(url: str) -> str:
        return sandbox.approve(url)

    grant = await login(oauth, open_browser=lambda _: False, ask=ask_later if asynchronous else ask)
    assert grant.refresh_token is not None


async def test_a_terminal_is_asked(
    oauth: OAuthClient, sandbox: KrakenSandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without anything else, the terminal shows the address and reads the other; stdout stays clean of the first."""

    def paste(prompt: str) -> str:
        assert "paste the address" in prompt
        return sandbox.approve(capsys.readouterr().err.split("\n\n")[1])

    monkeypatch.setattr("builtins.input", paste)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert (await login(oauth, open_browser=lambda _: False)).refresh_token is not None


async def test_a_user_who_does_not_come_back(oauth: OAuthClient) -> None:
    """After its time the login ends with a typed error, and nobody listens any more."""
    with pytest.raises(OAuthError, match="nobody came back from the login within 0:00:00.050000") as caught:
        await login(oauth, open_browser=lambda _: True, timeout=timedelta(milliseconds=50))
    assert "not_sent" == caught.value.outcome


async def test_a_browser_that_times_out_itself(oauth: OAuthClient) -> None:
    """A TimeoutError of the user's own function is not taken for a user who did not come back."""

    def slow(_: str) -> bool:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await login(oauth, open_browser=slow)


@pytest.mark.parametrize(
    "redirect_uri", ["http://localhost/cb", "https://127.0.0.1/cb", "https://app.example/cb", "app:/callback"]
)
async def test_redirect_uris_that_do_not_fit(redirect_uri: str) -> None:
    """Only a loopback address, spelled as one, comes back to this machine for sure."""
    async with OAuthClient("FAKE-app", redirect_uri=redirect_uri) as oauth:
        with pytest.raises(InvalidRequestError, match="redirect_uri: must be http://127.0.0.1"):
            await login(oauth, open_browser=lambda _: True)


@pytest.mark.parametrize("allowed", [timedelta(0), timedelta(minutes=11)])
async def test_times_that_do_not_fit(oauth: OAuthClient, allowed: timedelta) -> None:
    """The user has a little time, but not for ever."""
    with pytest.raises(InvalidRequestError, match="timeout: must be more than 0 and up to 10 minutes"):
        await login(oauth, open_browser=lambda _: True, timeout=allowed)


async def test_a_port_that_is_taken(sandbox: KrakenSandbox) -> None:
    """A fixed port that somebody else has is told before the browser opens."""
    port = urlsplit(sandbox.base_url).port
    async with OAuthClient(sandbox.client_id, redirect_uri=f"http://127.0.0.1:{port}/cb") as oauth:
        with pytest.raises(InvalidRequestError, match=f"port {port} is taken"):
            await login(oauth, open_browser=lambda _: pytest.fail("opened"))


async def test_other_addresses_are_not_found(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """A browser that asks for an icon first does no harm."""
    seen: list[Any] = []

    class Curious(Browser):
        def _visit(self, callback: str) -> None:
            parts = urlsplit(callback)
            try:
                urllib.request.urlopen(f"http://{parts.netloc}/favicon.ico", timeout=10)
            except urllib.error.HTTPError as error:
                seen.append(error.code)
            super()._visit(callback)

    browser = Curious(sandbox)
    assert (await login(oauth, open_browser=browser.open)).refresh_token is not None
    await browser.closed()
    assert [404] == seen
