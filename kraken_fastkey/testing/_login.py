"""A user of the sandbox who has logged in."""

from __future__ import annotations

from kraken_fastkey._grant import Grant
from kraken_fastkey._oauth import OAuthClient
from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore
from kraken_fastkey.testing._threaded import LoopThread, ThreadedSandbox


def oauth_client_of(sandbox: KrakenSandbox) -> OAuthClient:
    """Return a client of the sandbox's public app."""
    return OAuthClient(
        sandbox.client_id,
        redirect_uri="http://127.0.0.1/callback",
        authorize_url=sandbox.authorize_url,
        token_url=sandbox.token_url,
    )


def log_in(sandbox: KrakenSandbox) -> Grant:
    """Return what a user has granted who has logged in. The sandbox does not record it.

    Raises:
        TypeError: The sandbox has no thread of its own, and could not answer.
    """
    thread = _thread_of(sandbox)

    async def exchange() -> Grant:
        async with oauth_client_of(sandbox) as oauth:
            request = oauth.authorization_request()
            return await oauth.exchange_code(oauth.read_callback(sandbox.approve(request.url), request), request)

    recorded = list(sandbox.requests)
    grant = thread.run(exchange())
    sandbox.requests[:] = recorded
    return grant


def store_with(grant: Grant, sandbox: KrakenSandbox) -> MemoryGrantStore:
    """Return a store that holds a grant.

    Raises:
        TypeError: As for `log_in`.
    """
    store = MemoryGrantStore()
    _thread_of(sandbox).run(store.save(grant))
    return store


def _thread_of(sandbox: KrakenSandbox) -> LoopThread:
    if not isinstance(sandbox, ThreadedSandbox):
        raise TypeError("this takes the plugin's own kraken_sandbox: override kraken_grant_store, too")
    return sandbox.thread
