"""What is printed: data to the standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kraken_fastkey.cli._exits import CommandError, Exit
from kraken_fastkey.cli._stdout import give_up_stdout

GAP: Final = 2  # columns between those of a table
_WIDE = 10_000  # for a program that reads lines, one key stays on one line


def shown(text: str) -> str:
    """Return a text that moves no cursor and hides nothing: what cannot be printed is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def make_table(*columns: str) -> Table:
    """Return an empty table, its columns so far apart that programs can tell them."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def make_lines(rows: Iterable[tuple[str, Text | str | None]]) -> Text:
    """Return a line for each label and its value, without those whose value is `None`.

    No line is broken, so that what is in it can be copied.
    """
    told = [(label, value) for label, value in rows if value is not None]
    width = max(len(label) for label, _ in told)
    return Text("\n").join(Text.assemble((label.ljust(width), "bold"), "  ", value) for label, value in told)


class Output:
    """Where a command prints."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = _console(_Measured(sys.stdout))
        self._err = _console(_Measured(sys.stderr))
        self._doing = self._dots = ""
        self._live: Live | None = None

    def emit(self, document: Any, render: Callable[[], RenderableType]) -> None:
        """Print data.

        Args:
            document: It, for JSON.
            render: Makes it, for people.

        Raises:
            CommandError: The standard output cannot be written.
        """
        if self.as_json:
            self.emit_json(document)
            return
        what = render()
        # A text is to be copied as it is: where the terminal ends, it has no line break.
        self._write(_to_string(self._out, what, soft_wrap=isinstance(what, Text)))

    def emit_json(self, document: Any) -> None:
        """Print data as JSON, whoever reads it.

        Raises:
            CommandError: The standard output cannot be written.
        """
        self._write(json.dumps(document, indent=2) + "\n")

    def say(self, text: str, *, whole: bool = False) -> None:
        """Print a message for people: one line, which a terminal wraps between words.

        Args:
            text: The message.
            whole: Whether it is to be copied, so that no line break may be put into it.
        """
        self._tell("message", text, text, "", whole=whole)

    def warn(self, text: str) -> None:
        self._tell("warning", text, f"warning: {text}", "yellow")

    def log(self, text: str) -> None:
        """Print what was logged, or a traceback, for who looks for a defect."""
        self._tell("log", text, text, "dim", whole=True)

    def fail(self, text: str, document: dict[str, Any] | None = None) -> None:
        """Print an error.

        Args:
            text: The error, for people.
            document: The same for JSON; `None` if the data tell it already.
        """
        if document is not None or not self.as_json:
            self._tell("error", document, f"error: {text}", "red")

    def _tell(self, kind: str, document: object, text: str, style: str, *, whole: bool = False) -> None:
        if self.as_json:
            # A line each, so that what is before an error does not hide it.
            line = json.dumps({kind: document}) + "\n"
        else:
            harmless = "\n".join(map(shown, text.split("\n")))
            line = _to_string(self._err, Text(harmless, style=style), soft_wrap=whole or not self._err.is_terminal)
        self._write_message(line)

    def show(self, what: RenderableType) -> None:
        """Print something for people that is not the data that was asked for."""
        self._write_message(_to_string(self._err, what))

    @contextmanager
    def spinner(self, text: str) -> Iterator[None]:
        """Show that something goes on, where somebody may watch."""
        if self.as_json or not self._err.is_terminal:
            yield
            return
        # One of its own: what is printed meanwhile has no spinner in it.
        console = _console(sys.stderr)
        self._doing, self._dots = _fitting(text, sys.stderr), "line" if console.options.ascii_only else "dots"
        # Not Console.status(), which has what goes to the standard output go to standard error meanwhile.
        with Live(
            Spinner(self._dots, Text(self._doing)),
            console=console,
            refresh_per_second=12.5,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def progress(self, text: str) -> None:
        """Say how what goes on stands; nothing, if it goes on as it should."""
        if self._live is not None:
            told = f"{self._doing}: {text}" if text else self._doing
            self._live.update(Spinner(self._dots, Text(told)), refresh=True)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Take away what moves while something else is printed."""
        live = self._live
        if live is None:
            yield
            return
        live.stop()
        try:
            yield
        finally:
            live.start(refresh=True)

    def _write_message(self, text: str) -> None:
        if sys.stderr is None:  # it was closed at the start
            return
        # If nobody is there to be told, it is as good as told.
        with self._still(), contextlib.suppress(OSError):
            sys.stderr.write(_fitting(text, sys.stderr))
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        if sys.stdout is None:
            raise CommandError("the standard output is closed", exit=Exit.STORAGE)
        try:
            with self._still():
                sys.stdout.write(_fitting(text, sys.stdout))
                sys.stdout.flush()
        except OSError as error:
            give_up_stdout()
            message = f"the standard output cannot be written: {error.strerror}"
            raise CommandError(message, exit=Exit.STORAGE) from None

    def check_can_ask(self, *, yes: bool = False) -> None:
        """Refuse to go on to a question that nobody would answer.

        Args:
            yes: Whether the answer is given.

        Raises:
            CommandError: There is no terminal.
        """
        if not yes and (sys.stdin is None or not sys.stdin.isatty()):
            raise CommandError("this asks first, and there is no terminal to answer at: pass --yes", exit=Exit.USAGE)

    def confirm(self, question: str) -> bool:
        """Ask a person at the terminal, and return whether the answer is yes.

        Raises:
            CommandError: There is no terminal.
        """
        self.check_can_ask()
        # input() would write the question to the standard output.
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in {"y", "yes"}


class _Measured(io.StringIO):
    """What rich may know of a stream. It writes nothing there: it would where it captures, and fail with the stream.

    Args:
        stream: The stream; `None` if it was closed at the start.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()


def _console(stream: TextIO) -> Console:
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def _to_string(console: Console, what: RenderableType, *, soft_wrap: bool = False) -> str:
    """Return what a console would print: where its end is closed, rich would end the process."""
    with console.capture() as capture:
        console.print(what, soft_wrap=soft_wrap)
    # A table is filled up with spaces.
    return "".join(f"{line.rstrip()}\n" for line in capture.get().removesuffix("\n").split("\n"))


def _fitting(text: str, stream: TextIO) -> str:
    """Return a text with what a stream's encoding does not have, escaped."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
