"""A login on a desktop: the browser, and a server on loopback that it comes back to (RFC 8252)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import webbrowser
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from kraken_fastkey._errors import FastKeyError, InvalidRequestError, OAuthError, StoreError
from kraken_fastkey._grant import Grant
from kraken_fastkey._models import Permissions
from kraken_fastkey._oauth import AuthorizationRequest, OAuthClient
from kraken_fastkey.stores import GrantStore

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;padding:0 1.5rem}}
h1{{font-size:1.5rem;line-height:1.25}}</style></head>
<body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    # The address of this page holds the code.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# aiohttp's own would quote requests that are no HTTP, and their address holds the code.
_SILENCE: Final = logging.Logger("kraken_fastkey.login", logging.CRITICAL + 1)  # noqa: LOG001  # nobody's child
_DONE: Final = ("You are logged in", "You can close this window and go back to the program.")
_FAILED: Final = (
    "The login did not work",
    "You can close this window. The program says what happened, and what to do.",
)


async def login(
    oauth_client: OAuthClient,
    scopes: Permissions | str | Iterable[str] | None = None,
    *,
    store: GrantStore | None = None,
    language: str | None = None,
    prefer_theme: Literal["dark", "light"] | None = None,
    timeout: timedelta = timedelta(minutes=5),  # noqa: ASYNC109  # the user's time, not the caller's
    open_browser: Callable[[str], bool] = webbrowser.open,
    ask: Callable[[str], str | Awaitable[str]] | None = None,
) -> Grant:
    """Log a user in, with the browser of this machine, and return the grant.

    The browser comes back to a server on 127.0.0.1 that serves this one callback. If the app's redirect URI names no
    port, or port 0, any free one is used, as RFC 8252, section 7.3, lets native apps do. Where there is no browser,
    the address is shown instead, to be opened elsewhere; the address that the browser then ends at, where it finds
    nobody, is pasted back.

    Args:
        oauth_client: The app. Its redirect URI is `http://127.0.0.1/...` or `http://[::1]/...`.
        scopes: What to ask for, as for `OAuthClient.authorization_request`.
        store: Where to save the grant, before anybody is told that the login worked.
        language: The page's language.
        prefer_theme: The page's colours.
        timeout: How long the user has, more than 0 and up to 10 minutes.
        open_browser: Opens an address, and returns whether it could; it is called in a thread.
        ask: Shows an address and returns the one that is pasted back, at once or when awaited; without it, the
            terminal does.

    Raises:
        InvalidRequestError: The redirect URI is not a loopback address, or an argument is wrong.
        OAuthError: The user denied, did not come back in time, or the callback is not one to trust.
        FastKeyError: The network, Kraken or the store failed.
    """
    parts = urlsplit(oauth_client.redirect_uri)
    if parts.scheme != "http" or parts.hostname not in {"127.0.0.1", "::1"}:
        fault = "must be http://127.0.0.1/... for a login on a desktop (RFC 8252, section 8.3: not localhost)"
        raise InvalidRequestError({"redirect_uri": fault})
    if not timedelta(0) < timeout <= timedelta(minutes=10):
        raise InvalidRequestError({"timeout": "must be more than 0 and up to 10 minutes"})
    callback = _Callback(oauth_client, store)
    limit = asyncio.timeout(timeout.total_seconds())
    await callback.listen(parts.hostname, parts.port or 0, parts.path or "/")
    try:
        redirect_uri = oauth_client.redirect_uri
        if not parts.port:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            redirect_uri = urlunsplit(parts._replace(netloc=f"{host}:{callback.port}"))
        request = oauth_client.authorization_request(
            scopes, language=language, prefer_theme=prefer_theme, redirect_uri=redirect_uri
        )
        callback.expect(request)
        async with limit:
            if await asyncio.to_thread(open_browser, request.url):
                outcome = await callback.outcome
            else:
                outcome = await callback.finish(await _paste(ask or _ask_in_terminal, request.url))
    except TimeoutError:
        if not limit.expired():
            raise  # one of the user's own
        outcome = OAuthError(f"nobody came back from the login within {timeout}: begin a new one", outcome="not_sent")
    finally:
        await callback.aclose()
    if isinstance(outcome, FastKeyError):
        raise outcome
    return outcome


async def _paste(ask: Callable[[str], str | Awaitable[str]], url: str) -> str:
    answer = ask(url)
    return await answer if inspect.isawaitable(answer) else answer


async def _ask_in_terminal(url: str) -> str:
    print(f"Open this address in a browser, and log in:\n\n{url}\n", file=sys.stderr)  # noqa: T201  # for a person
    question = "Then paste the address that the browser ends at (it finds nobody there): "
    return await asyncio.to_thread(input, question)


class _Callback:
    """The server on loopback, for one callback of one login."""

    def __init__(self, oauth_client: OAuthClient, store: GrantStore | None) -> None:
        self.outcome: asyncio.Future[Grant | FastKeyError] = asyncio.get_running_loop().create_future()
        self.port = 0
        self._oauth_client = oauth_client
        self._store = store
        self._request: AuthorizationRequest | None = None
        self._runner: web.AppRunner | None = None

    async def listen(self, host: str, port: int, path: str) -> None:
        app = web.Application()
        app.router.add_get(path, self._handle)
        # No access log: it would hold the code.
        self._runner = web.AppRunner(app, access_log=None, logger=_SILENCE)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            fault = f"port {port} is taken: leave it out of the redirect URI, if the app is registered so"
        else:
            self.port = self._runner.addresses[0][1]
            return
        raise InvalidRequestError({"redirect_uri": fault})

    def expect(self, request: AuthorizationRequest) -> None:
        self._request = request

    async def _handle(self, request: web.Request) -> web.Response:
        if self._request is None or self.outcome.done():
            raise web.HTTPNotFound
        outcome = await self.finish(str(request.rel_url))
        title, text = _DONE if isinstance(outcome, Grant) else _FAILED
        response = web.Response(text=_PAGE.format(title=title, text=text), content_type="text/html", headers=_HEADERS)
        response.force_close()
        # Only when the page is on its way: the server ends with the login.
        await response.prepare(request)
        await response.write_eof()
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        return response

    async def finish(self, callback_url: str) -> Grant | FastKeyError:
        """Turn a callback's address into a grant that is saved, or the reason why there is none."""
        assert self._request is not None  # noqa: S101  # for type checkers: nobody is asked before
        try:
            code = self._oauth_client.read_callback(callback_url, self._request)
            del callback_url  # it holds the code
            grant = await self._oauth_client.exchange_code(code, self._request)
        except FastKeyError as error:
            return error.with_traceback(None)
        if self._store is None:
            return grant
        try:
            return await self._store.save(grant)
        except FastKeyError as error:
            return error.with_traceback(None)
        except Exception as raised:  # noqa: BLE001  # whatever a user's store may raise
            failure = StoreError(f"the store raised {type(raised).__name__}: see to what it needs")
            failure.__cause__ = raised
            return failure

    async def aclose(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
