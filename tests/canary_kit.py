"""Markers in the place of secrets, what shows values by accident, and a search of all that came out.

A marker lives in a `Hidden`, whose repr shows its name alone, and is opened in the very call that needs it. So no
frame has to be left out of the tracebacks: those of this kit and of the tests are searched like any other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import faulthandler
import gc
import inspect
import io
import json
import logging
import pickle
import pprint
import random
import string
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NoReturn
from urllib.parse import quote

import attrs
import cattrs
import rich.console
import rich.pretty
import rich.traceback
from telemetry import Telemetry

from kraken_fastkey import Event, SecretStr

PIECE: Final = 16  # so many characters of a marker in a row are a leak
_BLOCK: Final = PIECE // 2
_ALPHABET: Final = string.ascii_letters + string.digits
_LOGGER: Final = logging.getLogger("canary")


class Hidden:
    """A marker that shows its name alone."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def open(self) -> str:
        """Return the marker. Keep it in no variable."""
        return self._value

    def __repr__(self) -> str:
        return f"<marker: {self.name}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a marker is not pickled")


@attrs.frozen
class Leak:
    """A marker that was found.

    Attributes:
        marker: Which.
        where: In what.
        around: The text around it.
    """

    marker: str
    where: str
    around: str


class Vault:
    """All markers: those made here, and what servers and the library itself made up.

    Attributes:
        shy: The names of those that may be in data which is asked for (`attrs.asdict`, `json`), but in no repr or log.
    """

    def __init__(self, seed: int = 20) -> None:
        self._random = random.Random(seed)  # noqa: S311  # repeatable, and no secret
        self._values: dict[str, set[str]] = {}
        self.shy: set[str] = set()

    def make(self, name: str, length: int = 48, *, shy: bool = False) -> Hidden:
        """Return a new marker."""
        return self.keep(name, "FAKE" + "".join(self._random.choices(_ALPHABET, k=length - 4)), shy=shy)

    def make_bytes(self, length: int) -> bytes:
        """Return random bytes, to be kept in the form that they are used in."""
        return self._random.randbytes(length)

    def keep(self, name: str, value: str | SecretStr | None, *, shy: bool = False) -> Hidden:
        """Take a value that somebody else has made for a marker."""
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        if len(plain) < PIECE:
            raise ValueError(f"the marker of {name} is too short to be found")
        self._values.setdefault(name, set()).add(plain)
        if shy:
            self.shy.add(name)
        return Hidden(name, plain)

    def scanner(self) -> Scanner:
        """Return what finds the markers that there are by now."""
        return Scanner((name, value) for name, values in self._values.items() for value in values)

    @property
    def count(self) -> int:
        """How many markers there are."""
        return sum(map(len, self._values.values()))


def _forms(value: str) -> Iterator[str]:
    """Return how a marker may be written, all in lower case: that finds any case."""
    plain = value.encode()
    yield value
    yield plain.hex()
    yield quote(value, safe="")
    yield "\0".join(value)  # UTF-16, read as bytes
    for shift in range(3):
        # The first and the last characters depend on what stands beside the marker.
        text = base64.b64encode(b"\0" * shift + plain).rstrip(b"=").decode()[(0, 2, 3)[shift] :]
        whole = text if (shift + len(plain)) % 3 == 0 else text[:-1]
        yield whole
        yield whole.translate(str.maketrans("+/", "-_"))


class Scanner:
    """Finds markers, whole or in pieces of 16 characters, in any case: in clear, base64, hex, URL-encoded, UTF-16.

    Args:
        markers: Names and values.
    """

    def __init__(self, markers: Iterable[tuple[str, str]]) -> None:
        self._pieces: dict[str, str] = {}
        # A piece in a text covers one of the text's blocks, wherever it begins.
        self._blocks: set[str] = set()
        for name, value in markers:
            for text in {form.lower() for form in _forms(value)}:
                self._pieces.update((text[at : at + PIECE], name) for at in range(len(text) - PIECE + 1))
                self._blocks.update(text[at : at + _BLOCK] for at in range(len(text) - _BLOCK + 1))

    def find(self, text: str) -> dict[str, str]:
        """Return the markers that are in a text, each with what stands around it."""
        text = text.lower()
        blocks = self._blocks
        found: dict[str, str] = {}
        for start in range(0, len(text), _BLOCK):
            if text[start : start + _BLOCK] in blocks:
                for first in range(max(0, start - _BLOCK), start + 1):
                    name = self._pieces.get(text[first : first + PIECE])
                    if name is not None:
                        found.setdefault(name, text[max(0, start - 200) : start + 100])
        return found


def _texts(value: object) -> Iterator[str]:
    """What is shown of any value that somebody prints."""
    yield from (repr(value), str(value), ascii(value), f"{value}", f"{value!s:>200}", f"{[value]} { ({'key': value}) }")
    yield "%s %r" % (value, value)  # noqa: UP031  # the sink itself
    yield pprint.pformat(value)
    yield rich.pretty.pretty_repr(value, max_width=300, max_string=None)


def _dumps(value: Any) -> Iterator[str]:
    """What comes out if somebody asks a value for its data; who holds secrets may refuse."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            yield pickle.dumps(value, protocol).decode("latin-1")
    for copier in (copy.copy, copy.deepcopy):
        with contextlib.suppress(TypeError, AttributeError):
            copied = copier(value)
            yield f"{copied!r} {getattr(copied, '__dict__', '')!r}"
    if attrs.has(type(value)):
        # Without filters, as serializers have it.
        yield f"{attrs.asdict(value)!r} {attrs.astuple(value)!r}"
    with contextlib.suppress(TypeError, ValueError, AttributeError, RecursionError):
        yield repr(cattrs.unstructure(value))
    for default in (str, repr):
        with contextlib.suppress(TypeError, ValueError):
            yield json.dumps({"value": value, "fields": getattr(value, "__dict__", None)}, default=default)
    yield repr(getattr(value, "__dict__", ""))


def chain_of(error: BaseException) -> list[BaseException]:
    """Return an exception, its causes and contexts, the suppressed ones as well, and the members of groups."""
    found: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is not None and all(current is not other for other in found):
            found.append(current)
            queue += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
    return found


def _with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True).format())


def _by_rich(error: BaseException) -> Iterator[str]:
    """What rich knows of an exception, without the colours, which take their time."""
    trace = rich.traceback.Traceback.extract(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_length=sys.maxsize,
        locals_max_string=sys.maxsize,
        locals_hide_dunder=False,
        locals_hide_sunder=False,
    )
    for stack in trace.stacks:
        yield f"{stack.exc_type}: {stack.exc_value} {getattr(stack, 'notes', '')}"
        for frame in stack.frames:
            yield "\n".join(f"{name} = {node}" for name, node in (frame.locals or {}).items())


def _rendered_by_rich(error: BaseException) -> str:
    file = io.StringIO()
    rich.console.Console(file=file, width=300).print(
        rich.traceback.Traceback.from_exception(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=sys.maxsize,
            locals_max_string=sys.maxsize,
            locals_hide_dunder=False,
            extra_lines=0,
        )
    )
    return file.getvalue()


class _LocalsFormatter(logging.Formatter):
    """A formatter as error trackers have it: with the locals of each frame."""

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
        return _with_locals(ei[1]) if ei[1] is not None else ""


class _Capture(logging.Handler):
    """Keeps all that there is of each record."""

    def __init__(self, canary: Canary) -> None:
        super().__init__(0)
        self._canary = canary
        self._plain = logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s %(args)s %(task)s")
        self._locals = _LocalsFormatter("%(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        record.task = getattr(record, "taskName", None)
        self._canary.records += 1
        if record.name == "kraken_fastkey":
            self._canary.logged.append(str(vars(record).get("kraken_fastkey_event")))
        self._canary.add(f"log of {record.name}", f"{self._plain.format(record)} {vars(record)!r}")
        if record.exc_info:
            record.exc_text = None  # what the other formatter has made of it
            self._canary.add(f"log of {record.name}, with locals", self._locals.format(record))
            record.exc_text = None


class Watch:
    """A hook that keeps each event, as it comes and as OpenTelemetry sends it away.

    Args:
        canary: What searches it.
    """

    def __init__(self, canary: Canary) -> None:
        self._canary = canary
        self._telemetry = Telemetry()

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        self._canary.events[event.name] += 1
        self._canary.add("event", f"{event!r} {attrs.asdict(event)!r}")
        self._telemetry.observer(event)

    def finish(self) -> None:
        """Keep all spans and metrics."""
        self._canary.add("spans and metrics", self._telemetry.text())
        self._telemetry.close()


class Canary:
    """Drives paths, keeps what comes out of each, and searches it.

    Args:
        renders: How many classes of exceptions have rich render one of theirs.

    Attributes:
        vault: The markers.
        paths: How many paths were driven.
        records: How many log records were kept.
        logged: The events of the library's own log records.
        events: The events that hooks were told of, by name, and how often.
        outcomes: What came of the paths: names of the classes, and how often.
        kinds: The classes of all exceptions that were raised.
        strange: Exceptions that no path should raise, by path.
        requests: What servers have received, as bytes.
    """

    def __init__(self, *, renders: int = 6) -> None:
        self.vault = Vault()
        self.paths = 0
        self.records = 0
        self.logged: list[str] = []
        self.events: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.kinds: set[type[BaseException]] = set()
        self.strange: list[str] = []
        self.expected: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError)
        self.requests: list[bytes] = []
        self._evidence: list[tuple[str, str, bool]] = []
        self._renders = renders
        self._rendered: set[type[BaseException]] = set()

    def add(self, where: str, text: str, *, asked: bool = False) -> None:
        """Keep a text that has come out; *asked*: it is data that somebody has asked for, and no repr or log."""
        self._evidence.append((where, text, asked))

    def show(self, where: str, value: object) -> None:
        """Show a value in all the ways that there are."""
        for text in _texts(value):
            self.add(f"{where}: {type(value).__name__} shown", text)
        for text in _dumps(value):
            self.add(f"{where}: {type(value).__name__} dumped", text, asked=True)

    def show_error(self, where: str, error: BaseException) -> None:
        """Show an exception in all the ways that there are, and log it."""
        self.outcomes[type(error).__name__] += 1
        for one in chain_of(error):
            self.kinds.add(type(one))
            self.add(f"{where}: traceback", _with_locals(one))
            for text in _by_rich(one):
                self.add(f"{where}: rich's traceback", text)
            for text in (*_texts(one), repr(one.args), repr(vars(one)), repr(getattr(one, "__notes__", ""))):
                self.add(f"{where}: {type(one).__name__} shown", text)
            # All that is in an exception may be shown: nothing of it is asked for.
            for text in _dumps(one):
                self.add(f"{where}: {type(one).__name__} dumped", text)
        # It takes its time, and shows no more than what is above.
        if type(error) not in self._rendered and len(self._rendered) < self._renders:
            self._rendered.add(type(error))
            self.add(f"{where}: rich's traceback, rendered", _rendered_by_rich(error))
        _LOGGER.error("%s failed: %s %r", where, error, error, exc_info=error)

    async def drive(self, path: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call with *arguments* and show what comes of it: its result, which is returned, or its exception."""
        self.paths += 1
        try:
            result = call(*arguments)
            if inspect.isawaitable(result):
                result = await result
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # all of them are looked at
            if not isinstance(error, self.expected):
                self.strange.append(f"{path}: {error!r}")
            self.show_error(path, error)
            return None
        self.outcomes["success"] += 1
        self.show(path, result)
        return result

    async def abandon(self, path: str, call: Callable[..., Any], *arguments: Any) -> None:
        """Let a task fail that nobody waits for, a callback fail, and a coroutine never run."""
        self.paths += 3
        task = asyncio.ensure_future(call(*arguments))
        await asyncio.wait([task])
        self.add(f"{path}: task", f"{task!r}")
        stack = io.StringIO()
        task.print_stack(file=stack)
        self.add(f"{path}: stack of the task", stack.getvalue())
        error = None if task.cancelled() else task._exception  # not exception(): that would look at it
        del task
        if error is not None:
            asyncio.get_running_loop().call_soon(self._raise, error)
            await asyncio.sleep(0)
        del error
        coroutine = call(*arguments)
        self.add(f"{path}: coroutine", repr(coroutine))
        del coroutine
        gc.collect(1)  # what has just been made; all of it would take its time
        await asyncio.sleep(0)

    @staticmethod
    def _raise(error: BaseException) -> None:
        raise error

    def dump_threads(self, where: str) -> None:
        """Have faulthandler tell where all threads are."""
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            self.add(f"{where}: faulthandler", file.read().decode())

    @contextlib.contextmanager
    def listening(self, *noisy: str) -> Iterator[None]:
        """Keep all logs, at the lowest level, and all warnings."""
        handler = _Capture(self)
        hook, sys.unraisablehook = sys.unraisablehook, self._keep_unraisable
        loggers = [logging.getLogger(), *map(logging.getLogger, noisy)]
        levels = [logger.level for logger in loggers]
        loggers[0].addHandler(handler)
        for logger in loggers:
            logger.setLevel(1)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
        finally:
            sys.unraisablehook = hook
            loggers[0].removeHandler(handler)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
        for warning in caught:
            self.add("warning", f"{warning} {warning.source!r} {warning.message!r}")

    def _keep_unraisable(self, unraisable: Any) -> None:
        self.add("unraisable", f"{unraisable.err_msg} {unraisable.object!r} {_with_locals(unraisable.exc_value)}")

    def misplaced(self, allowed: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return which markers are where they must not be in the requests: names, and headers or other parts."""
        scanner = self.vault.scanner()
        found: set[tuple[str, str]] = set()
        for request in self.requests:
            head, _, body = request.decode("latin-1").partition("\r\n\r\n")
            line, *headers = head.split("\r\n")
            places = [("URL", line), ("token body" if body.startswith("grant_type=") else "body", body)]
            places += [(name.lower(), value) for name, _, value in (header.partition(":") for header in headers)]
            places += [("name of a header", header.partition(":")[0]) for header in headers]
            found |= {(name, place) for place, text in places for name in scanner.find(text)}
        return found - set(allowed)

    @property
    def searched(self) -> int:
        """How many bytes have come out so far."""
        return sum(len(text.encode("utf-8", "replace")) for _, text, _ in self._evidence)

    def leaks(self) -> list[Leak]:
        """Search all that has come out, and return what was found."""
        scanner = self.vault.scanner()
        return [
            Leak(name, where, around)
            for where, text, asked in self._evidence
            for name, around in scanner.find(text).items()
            if not (asked and name in self.vault.shy)
        ]
