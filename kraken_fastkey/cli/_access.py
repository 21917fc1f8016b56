"""`login`, `logout` and `whoami`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import Iterator
from typing import Any, Literal

import click
from rich.text import Text

import kraken_fastkey
from kraken_fastkey import Grant, Permissions, UserInfo
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._exits import CommandError, Exit
from kraken_fastkey.cli._forgetting import forget_grant
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._options import permission_options, permissions_of
from kraken_fastkey.cli._output import make_lines, shown
from kraken_fastkey.cli._scopes import READ, USER_INFO, WRITE, short_scopes
from kraken_fastkey.cli._session import (
    TOKEN_VARIABLE,
    make_oauth_client,
    make_store,
    open_client,
    store_place,
    token_from_environment,
)
from kraken_fastkey.cli._times import to_json, to_text


@click.command("login", cls=ProfileCommand)
@permission_options
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope to ask for; may be repeated.")
@click.option("--no-browser", is_flag=True, help="Show the address, and have the one that it ends at pasted back.")
@click.option("--language", metavar="CODE", help="The page's language, such as de or pt-br.")
@click.option("--theme", type=click.Choice(["dark", "light"]), help="The page's colours.")
@click.pass_obj
def login_command(
    invocation: Invocation,
    *,
    permission: tuple[str, ...],
    read_only: bool,
    scopes: tuple[str, ...],
    no_browser: bool,
    language: str | None,
    theme: Literal["dark", "light"] | None,
) -> None:
    """Log in at Kraken, and keep the login.

    It asks for what --permission, --read-only and --scope say, or for the profile's permissions, or else for all that
    the app is registered with. What a key may do later is a part of that.
    """
    permissions = permissions_of(permission, read_only=read_only)
    grant = invocation.run(
        _login(
            invocation,
            _scopes(permissions, scopes, invocation.profile.permissions),
            browser=not no_browser,
            language=language,
            theme=theme,
        )
    )
    _show(invocation, grant)
    if token_from_environment():
        invocation.output.warn(f"{TOKEN_VARIABLE} is set, and goes before this login: unset it to use the login")


def _scopes(
    permissions: Permissions | None, scopes: tuple[str, ...], default: Permissions | None
) -> frozenset[str] | None:
    """Return what to ask for; `None` for all that the app is registered with."""
    wanted = permissions if permissions is not None or scopes else default
    if wanted is None:
        return frozenset(scopes) or None
    return wanted.scopes() | {READ, WRITE, USER_INFO, *scopes}


async def _login(
    invocation: Invocation,
    scopes: frozenset[str] | None,
    *,
    browser: bool,
    language: str | None,
    theme: Literal["dark", "light"] | None,
) -> Grant:
    store = make_store(invocation.profile)
    output = invocation.output

    def open_browser(url: str) -> bool:
        if not browser:
            return False
        output.say(f"Log in, in the browser; if none opens, at this address:\n\n{url}\n", whole=True)
        with _no_output_of_others():
            return webbrowser.open(url)

    async def ask(url: str) -> str:
        output.say(f"Open this address in a browser, and log in:\n\n{url}\n", whole=True)
        pasted = await _read_line("Then paste the address that the browser ends at (it finds nobody there): ")
        if not pasted:
            raise CommandError("nothing was pasted, so nobody is logged in", exit=Exit.LOGIN)
        return pasted

    async with make_oauth_client(invocation) as oauth_client:
        return await kraken_fastkey.login(
            oauth_client,
            scopes,
            store=store,
            language=language,
            prefer_theme=theme,
            open_browser=open_browser,
            ask=ask,
        )


@contextlib.contextmanager
def _no_output_of_others() -> Iterator[None]:
    """Let what is started here print to standard error: browsers tell what they do on the standard output."""
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


async def _read_line(question: str) -> str:
    """Ask at the terminal. In a thread that nobody waits for, so that Ctrl-C need not wait for Enter."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def finish(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = sys.stdin.readline()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(finish, line)

    # input() would write the question to the standard output.
    print(question, end="", file=sys.stderr, flush=True)
    threading.Thread(target=read, daemon=True).start()
    return (await answer).strip()


def _show(invocation: Invocation, grant: Grant) -> None:
    profile = invocation.profile
    document = {
        "profile": profile.name,
        "store": store_place(profile),
        "scopes": None if grant.scopes is None else sorted(grant.scopes),
        "expires_at": to_json(grant.expires_at),
        "refreshable": grant.refresh_token is not None,
    }
    invocation.output.emit(document, lambda: _render_grant(document, grant, invocation.now))


def _render_grant(document: dict[str, Any], grant: Grant, now: float) -> Text:
    rows = [("profile", document["profile"]), ("kept in", document["store"])]
    if grant.scopes is not None:
        rows.append(("scopes", short_scopes(grant.scopes)))
    if grant.expires_at is not None:
        then = "then refreshed" if grant.refresh_token else "then log in again"
        rows.append(("expires", f"{to_text(grant.expires_at, now)}, {then}"))
    return make_lines(rows)


@click.command("logout", cls=ProfileCommand)
@click.pass_obj
def logout_command(invocation: Invocation) -> None:
    """Forget the login on this machine.

    Keys that were made stay as they are, and the app stays authorized at Kraken: delete keys first, and take the
    authorization back in Kraken's settings.
    """
    profile = invocation.profile
    forgotten = invocation.run(forget_grant(profile))
    document = {"profile": profile.name, "store": store_place(profile), "forgotten": forgotten}
    text = "the login is forgotten" if forgotten else "there was no login"
    invocation.output.say(f"{text}; keys stay as they are, and Kraken's settings have the authorization")
    if invocation.as_json:
        invocation.output.emit_json(document)
    if token_from_environment():
        invocation.output.warn(f"{TOKEN_VARIABLE} is set, and still gives access: unset it")


@click.command("whoami", cls=ProfileCommand)
@click.pass_obj
def whoami_command(invocation: Invocation) -> None:
    """Show whose account it is."""
    user = invocation.run(_ask_user(invocation))
    document = {"profile": invocation.profile.name, "email": user.email, "iban": user.iban}
    rows = [(label, shown(value)) for label, value in document.items() if value is not None]
    invocation.output.emit(document, lambda: make_lines(rows))


async def _ask_user(invocation: Invocation) -> UserInfo:
    async with open_client(invocation) as client:
        with invocation.output.spinner("Asking"):
            return await client.get_user_info()
