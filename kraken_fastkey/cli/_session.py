"""What a profile opens: its store, its OAuth client, its tokens, and a client for its account."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import kraken_fastkey
from kraken_fastkey import KeyNotFoundError, OrphanSuspected, SecretStr
from kraken_fastkey.cli._config import Profile, default_config_path
from kraken_fastkey.cli._exits import CommandError, Exit, NotHandedOutError, tell_error
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._output import shown
from kraken_fastkey.cli._progress import follow

if TYPE_CHECKING:
    from kraken_fastkey import Event, FastKeyClient, KeyInfo, OAuthClient, TokenProvider
    from kraken_fastkey.stores import GrantStore

TOKEN_VARIABLE: Final = "KRAKEN_FASTKEY_TOKEN"  # noqa: S105  # a variable's name
_MAX_SECRET: Final = 64 * 1024


def base_url_of(profile: Profile) -> str:
    return profile.base_url or kraken_fastkey.DEFAULT_BASE_URL


def api_url_of(profile: Profile) -> str:
    return profile.api_url or kraken_fastkey.DEFAULT_API_URL


def token_from_environment() -> bool:
    """Whether an access token is given by the environment, which then goes before a login."""
    return bool(os.environ.get(TOKEN_VARIABLE, "").strip())


def store_place(profile: Profile) -> str:
    """Return where a profile's login is kept, in words."""
    return f"the keyring, as {profile.name!r}" if profile.grant_store == "keyring" else str(profile.grant_file)


def make_store(profile: Profile) -> GrantStore:
    """Return the store of a profile's login.

    Raises:
        CommandError: It needs an extra that is not installed.
        FastKeyError: Its encryption key is missing or wrong, or the user has no folder for it.
    """
    from kraken_fastkey import stores  # noqa: PLC0415  # only when there is something to store

    try:
        if profile.grant_store == "keyring":
            return stores.KeyringGrantStore(profile.name)
        if profile.grant_store == "encrypted-file":
            return stores.FileGrantStore(profile.grant_file, encryption_key=stores.encryption_key_from_environment())
        return stores.FileGrantStore(profile.grant_file)
    except ModuleNotFoundError as error:
        raise CommandError(f"grant_store {profile.grant_store!r}: {error}", exit=Exit.USAGE) from None


def make_oauth_client(invocation: Invocation) -> OAuthClient:
    """Return a profile's app.

    Raises:
        CommandError: The profile names none.
        InvalidRequestError: The profile has a fault.
    """
    profile = invocation.profile
    if profile.client_id is None:
        place = invocation.config or default_config_path()
        raise CommandError(
            f"there is no login, and no app to log in with: set {TOKEN_VARIABLE}, or client_id in "
            f"[profiles.{profile.name}] of {place}, then run kraken-fastkey login",
            exit=Exit.LOGIN,
        )
    urls: dict[str, Any] = {"authorize_url": profile.authorize_url, "token_url": profile.token_url}
    return kraken_fastkey.OAuthClient(
        profile.client_id,
        _client_secret(profile),
        redirect_uri=profile.redirect_uri,
        _runtime=invocation.runtime,
        **{name: url for name, url in urls.items() if url is not None},
    )


@asynccontextmanager
async def open_tokens(invocation: Invocation) -> AsyncIterator[TokenProvider]:
    """Have a profile's access tokens: the environment's, or those of the login.

    Raises:
        FastKeyError: There is neither.
    """
    if token_from_environment():
        yield kraken_fastkey.EnvironmentTokenProvider(TOKEN_VARIABLE)
        return
    async with (
        make_oauth_client(invocation) as oauth_client,
        kraken_fastkey.RefreshingTokenProvider(
            oauth_client, make_store(invocation.profile), _runtime=invocation.runtime
        ) as tokens,
    ):
        yield tokens


@asynccontextmanager
async def open_client(invocation: Invocation) -> AsyncIterator[FastKeyClient]:
    """Have a client for a profile's account; at the end, tell of keys that may be left.

    Raises:
        FastKeyError: The profile has no token, or a fault.
    """
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(open_tokens(invocation))
        follower = follow(invocation.output)
        told: set[str] = set()

        def note(event: Event) -> None:
            if isinstance(event, OrphanSuspected):
                told.add(event.api_key_name)  # the client has logged it
            follower(event)

        client = kraken_fastkey.FastKeyClient(
            tokens, base_url=base_url_of(invocation.profile), on_event=note, _runtime=invocation.runtime
        )
        try:
            yield client
        except NotHandedOutError as error:
            await client.aclose()
            if client.unsettled_keys:
                raise
            raise CommandError(f"{tell_error(error)}. The new key is deleted again", exit=error.exit) from None
        finally:
            await client.aclose()
            for name in client.unsettled_keys:
                if name in told:
                    continue
                invocation.output.warn(
                    f"the key {name!r} may exist, and nobody has its secret: if kraken-fastkey list shows it, delete it"
                )


async def find_key(invocation: Invocation, name: str) -> KeyInfo:
    """Return what the account's list says of a key.

    Raises:
        KeyNotFoundError: There is none of that name.
        FastKeyError: The list cannot be had.
    """
    async with open_client(invocation) as client:
        with invocation.output.spinner(f"Looking for {shown(name)}"):
            keys = await client.list_keys()
    for key in keys:
        if key.api_key_name == name:
            return key
    raise KeyNotFoundError(
        f"the account has no key {name!r}: kraken-fastkey list shows those that there are", operation="list_keys"
    )


def _client_secret(profile: Profile) -> SecretStr | None:
    where = f"profile {profile.name!r}"
    if profile.client_secret_env is not None:
        secret = SecretStr(os.environ.get(profile.client_secret_env, "").strip())
        if not secret:
            raise CommandError(
                f"{where}: the environment variable {profile.client_secret_env} is not set, or empty: set it to the "
                "client secret",
                exit=Exit.USAGE,
            )
        return secret
    if profile.client_secret_file is None:
        return None
    try:
        with profile.client_secret_file.open("rb") as file:
            secret = SecretStr(file.read(_MAX_SECRET).decode("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise CommandError(
            f"{where}: {profile.client_secret_file} cannot be read: {reason}: mend client_secret_file", exit=Exit.USAGE
        ) from None
    if not secret:
        raise CommandError(f"{where}: {profile.client_secret_file} is empty", exit=Exit.USAGE)
    return secret
