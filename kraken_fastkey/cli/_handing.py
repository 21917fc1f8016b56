"""Where a new key's secret goes, which Kraken shows this once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click

from kraken_fastkey import FastApiKey, StoreError
from kraken_fastkey.cli._exits import CommandError, Exit, NotHandedOutError, tell_error
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._keys import describe_key, render_key
from kraken_fastkey.cli._options import env_prefix_option, file_option, stack
from kraken_fastkey.stores._locks import in_thread

_R = TypeVar("_R")

_secret_options: Final = stack(
    file_option("--env-file", "Write KRAKEN_API_KEY and KRAKEN_API_SECRET into this file; its other lines stay."),
    env_prefix_option,
    file_option("--secret-file", "Write the secret, and nothing else, into this file."),
    click.option("--ccxt", is_flag=True, help="Print what ccxt's constructor takes, as JSON, the secret in clear."),
    click.option("--show-secret", is_flag=True, help="Print the secret in clear."),
)


@attrs.frozen(kw_only=True)
class Handing:
    """Where the secret is to go.

    Attributes:
        show_secret: To the standard output, with all else that is known of the key.
        ccxt: To the standard output, as what ccxt's constructor takes.
        env_file: Into a file of environment variables.
        env_prefix: What their names begin with.
        secret_file: Into a file of its own.
    """

    show_secret: bool
    ccxt: bool
    env_file: Path | None
    env_prefix: str
    secret_file: Path | None

    def check(self, invocation: Invocation) -> None:
        """Refuse, before anything is sent, what would lose the secret.

        Raises:
            click.UsageError: The secret has nowhere to go, or the standard output or a file has two things to show.
            InvalidRequestError: No variable's name could begin so.
            StoreError: A file, or its folder, is not fit for a secret.
        """
        if not (self.show_secret or self.ccxt or self.env_file or self.secret_file):
            raise click.UsageError(
                "Kraken shows the secret this once, and it would be lost: pass --env-file PATH, --secret-file PATH, "
                "--ccxt or --show-secret"
            )
        if self.ccxt and (self.show_secret or invocation.as_json):
            raise click.UsageError("--ccxt prints JSON of its own, with the secret: leave --show-secret and --json out")
        from kraken_fastkey._env_file import check_place, check_prefix  # noqa: PLC0415  # with the network, help needs none

        check_prefix(self.env_prefix)
        places = [path for path in (self.env_file, self.secret_file) if path is not None]
        if len({path.absolute() for path in places}) < len(places):
            raise click.UsageError("--env-file and --secret-file are one file: name two, or pass one of them")
        for path in places:
            check_place(path)

    async def save(self, invocation: Invocation, key: FastApiKey, **more: Any) -> None:
        """Hand the secret out; if this fails, the key is deleted.

        What is printed goes first: a file's old content stays unless all has worked.

        Raises:
            FastKeyError: It cannot be printed or written.
        """
        from kraken_fastkey._env_file import write_env_file, write_secret_file  # noqa: PLC0415  # likewise

        try:
            if self.ccxt:
                invocation.output.emit_json({"apiKey": key.api_key, "secret": key.secret.get_secret_value()})
            elif self.show_secret:
                self._show(invocation, key, **more)
            # In threads, which are waited for even by who is cancelled.
            if self.secret_file is not None:
                path = self.secret_file
                await in_thread(lambda: write_secret_file(key, path))
            if self.env_file is not None:
                file = self.env_file
                await in_thread(lambda: write_env_file(key, file, prefix=self.env_prefix))
        except (CommandError, StoreError) as error:
            raise NotHandedOutError(tell_error(error), exit=Exit.STORAGE) from None

    def finish(self, invocation: Invocation, key: FastApiKey, **more: Any) -> None:
        """Show the key, unless it has been shown with its secret."""
        if not self.show_secret and not self.ccxt:
            self._show(invocation, key, **more)

    def _show(self, invocation: Invocation, key: FastApiKey, **more: Any) -> None:
        secret = key.secret.get_secret_value() if self.show_secret else None
        files = {"env_file": self.env_file, "secret_file": self.secret_file}
        document = {
            **more,
            "key": {**describe_key(key, invocation.now), "secret": secret},
            **{name: None if path is None else str(path) for name, path in files.items()},
        }
        written = [str(path) for path in files.values() if path is not None]
        shown = secret or f"{key.secret}  (in {' and '.join(written)})"
        invocation.output.emit(document, lambda: render_key(key, invocation.now, secret=shown))


def secret_options(function: Callable[..., _R]) -> Callable[..., _R]:
    """Add the options that say where a secret goes; the command gets them as one argument, `handing`."""

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> _R:
        said = {field.name: options.pop(field.name) for field in attrs.fields(Handing)}
        return function(*args, handing=Handing(**said), **options)

    return _secret_options(command)
