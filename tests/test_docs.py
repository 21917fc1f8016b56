"""What `README.md` and the pages of `docs/` show is run here, and what they say is compared with the code.

How a page is written:

- Each ```` ```python ```` block is a complete program with imports of its own. It is run in a namespace of its own, in
  an empty folder, against the sandbox. No block sees another's names.
- A ```` ```text ```` block right after it, with nothing but blank lines between, is what it prints, to the letter.
  Without one, it may print what it likes, but no secret.
- Blocks, of any language, whose first line is a comment with a file's name (`# conftest.py`) are files. All of a page
  are written into one folder, and pytest is run there.
- A comment `<!-- not run: why -->` right before a block keeps it from being run. There are few of these.
- Blocks of other languages (`sh`, `console`, `yaml`) are not run.
- A program that imports a package of an extra is skipped where that is not installed.
- A program that asks for `REDIS_URL` has a Redis of its own.

A program waits in no real time, and reaches nothing but loopback.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from opentelemetry import metrics
from support import event_classes, missing

import kraken_fastkey
import kraken_fastkey.otel
import kraken_fastkey.sandbox
import kraken_fastkey.stores
import kraken_fastkey.testing
from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    InvalidArgumentsError,
    OAuthClient,
    RateLimitedError,
    RefreshingTokenProvider,
    RetryPolicy,
    SecretStr,
    ServiceUnavailableError,
    Timeouts,
    TransportError,
    UpdateKeyRequest,
    _account,
    _engine,
    _errors,
    _janitor,
    _listing,
    _log_records,
    _retry,
    _transport,
    _wire,
)
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._wire.http import MAX_ANSWER_BYTES

sys.path.append(str(Path(__file__).parent / "stores"))

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUN_PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
_BESIDE = ("CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md")
ALL_PAGES = [*RUN_PAGES, *(ROOT / name for name in _BESIDE), *ROOT.glob("examples/*/*.md")]
MAX_NOT_RUN = 3
EXTRAS = ("ccxt", "cryptography", "kraken", "opentelemetry", "redis", "sqlalchemy")

FENCE = re.compile(
    r"^(?P<ticks>`{3,})(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^(?P=ticks) *$", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+) -->\n\s*\Z")
FILE_NAME = re.compile(r"# (?P<name>[\w/.-]+\.\w+)\n")


def name_of(page: Path) -> str:
    """Return where a page is, for people: `how-to/login.md`."""
    return page.relative_to(DOCS if DOCS in page.parents else ROOT).as_posix()


@attrs.frozen
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page.
        line: The number of the code's first line.
        language: The fence's language.
        code: What is in it.
        file_name: The name of the file that it is, if it is one.
        output: What it prints, if the page says so.
        not_run: Why it is not run, if it is not.
    """

    page: Path
    line: int
    language: str
    code: str = attrs.field(repr=False)
    file_name: str | None
    output: str | None = attrs.field(repr=False)
    not_run: str | None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{name_of(self.page)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return a page's blocks, in order."""
    text = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    blocks = []
    for fence, following in zip(fences, [*fences, None][1:], strict=True):
        marker = NOT_RUN.search(text[: fence.start()])
        name = FILE_NAME.match(fence["code"])
        shows_output = (
            following is not None
            and following["language"] == "text"
            and not text[fence.end() : following.start()].strip()
        )
        blocks.append(
            Block(
                page=page,
                line=text.count("\n", 0, fence.start("code")) + 1,
                language=fence["language"],
                code=fence["code"],
                file_name=name["name"] if name else None,
                output=following["code"] if following is not None and shows_output else None,
                not_run=marker["reason"] if marker else None,
            )
        )
    return blocks


BLOCKS = [block for page in RUN_PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
YAML = [block for block in BLOCKS if block.language == "yaml"]
PROGRAMS = [block for block in PYTHON if block.file_name is None and block.not_run is None]
TUTORIAL = DOCS / "tutorial/trading-bot.md"
PAGES_WITH_FILES = sorted(
    {block.page for block in BLOCKS if block.file_name is not None and block.not_run is None} - {TUTORIAL}
)


@pytest.fixture(name="secrets")
def _secrets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every value that becomes a secret."""
    noted: list[str] = []
    original: Callable[[SecretStr, str | SecretStr], None] = SecretStr.__init__

    def note(self: SecretStr, value: str | SecretStr) -> None:
        original(self, value)
        noted.append(self.get_secret_value())

    monkeypatch.setattr(SecretStr, "__init__", note)
    return noted


@pytest.fixture(name="_no_waiting")
def _no_waiting_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time that is slept away pass at once, in a program and in the clients that it makes."""
    skipped = 0.0
    real_sleep = asyncio.sleep

    async def skip(seconds: float, result: Any = None) -> Any:
        nonlocal skipped
        skipped += seconds
        await real_sleep(0)
        return result

    runtime = Runtime(monotonic=lambda: time.monotonic() + skipped, sleep=skip)
    for cls in (FastKeyClient, OAuthClient, RefreshingTokenProvider):
        defaults = cls.__init__.__kwdefaults__
        assert defaults is not None
        assert "_runtime" in defaults
        monkeypatch.setitem(defaults, "_runtime", runtime)
    monkeypatch.setattr(asyncio, "sleep", skip)


@pytest.fixture(name="strangers")
def _strangers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse and note each connection, and each lookup of a name, that leads away from this machine."""
    noted: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if host not in {"", "127.0.0.1", "::1"}:
            noted.append(host)
            raise OSError("not from a test")
        connect(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in {None, "127.0.0.1", "::1", "localhost"}:
            noted.append(host)
            raise OSError("not from a test")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    return noted


@pytest.fixture(name="_own_folder")
def _own_folder_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, and give back the environment as it was."""
    monkeypatch.chdir(tmp_path)
    saved = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(name="_redis")
def _redis_fixture(block: Block, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a Redis server for a program that wants one."""
    if "REDIS_URL" not in block.code:
        yield
        return
    pytest.importorskip("redis", reason="its extra is not installed")
    from redis_kit import redis_server  # noqa: PLC0415  # it imports the extra

    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        if server is None:
            missing("redis-server")
        os.environ["REDIS_URL"] = f"redis://127.0.0.1:{server.port}/0"
        yield


@pytest.mark.usefixtures("_no_waiting", "_own_folder", "_redis")
@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_program_does_what_its_page_says(
    block: Block,
    secrets: list[str],
    strangers: list[str],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each program runs to its end, prints what the page shows, shows no secret, and talks to this machine alone."""
    for package in re.findall(rf"^from ({'|'.join(EXTRAS)})\b", block.code, re.MULTILINE):
        pytest.importorskip(package, reason="its extra is not installed")
    # Moved down, so that a traceback names the page's own line.
    code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec", dont_inherit=True)
    with caplog.at_level("DEBUG"):
        exec(code, {"__name__": "__main__"})  # noqa: S102  # our own pages
    printed, complained = capfd.readouterr()
    if block.output is not None:
        assert block.output == printed
    # Shorter ones are no tokens; the empty string is in everything.
    # ccxt logs the headers of its requests, an API key among them; that is its own business.
    logged = "\n".join(str(vars(record)) for record in caplog.records if not record.name.startswith("ccxt."))
    shown = [secret for secret in secrets if len(secret) > 7 and secret in printed + complained + logged]
    assert [] == shown
    assert [] == strangers


@pytest.mark.parametrize("page", PAGES_WITH_FILES, ids=name_of)
def test_files_of_a_page_pass_pytest(page: Path, tmp_path: Path) -> None:
    """The test files that a page shows pass, every test of them."""
    expected: set[str] = set()
    for block in blocks_of(page):
        if block.file_name is not None:
            (tmp_path / block.file_name).write_text(block.code, encoding="utf-8")
            # A class may inherit its tests.
            expected |= set(re.findall(r"^(?:async def|def|class) (test_\w+|Test\w+)", block.code, re.MULTILINE))
    done = subprocess.run(
        # By name, whether or not the package was installed as it is now.
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "kraken_fastkey.testing", "-W", "error"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    passed = re.findall(r"^\w+\.py::(\w+)\S* PASSED", done.stdout, re.MULTILINE)
    assert expected == set(passed)
    assert f" {len(passed)} passed in " in done.stdout


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_yaml_can_be_read(block: Block) -> None:
    """What a page shows of Kubernetes' files is YAML, with no field of the top twice."""
    yaml = pytest.importorskip("yaml", reason="it reads the files")
    fields = yaml.safe_load(block.code)
    assert isinstance(fields, dict)
    assert len(re.findall(r"^\w+:", block.code, re.MULTILINE)) == len(fields)


def test_few_blocks_are_not_run() -> None:
    """A Python block is run, but for a few with a reason."""
    reasons = [block.not_run for block in PYTHON if block.not_run is not None]
    assert len(reasons) <= MAX_NOT_RUN
    assert all(len(reason.split()) >= 4 for reason in reasons)


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_no_block_escapes(page: Path) -> None:
    """Each fence of Python, and each marker, is one that these tests see."""
    text = page.read_text(encoding="utf-8")
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    assert len(re.findall(r"^\s*(?:`{3,}|~{3,})\s*(?:python|py|pycon)\b", text, re.MULTILINE)) == len(blocks)
    assert text.count("not run:") == sum(block.not_run is not None for block in blocks)


def prose_of(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Each link to another page, and to a heading of it, has a target."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(target)
    assert [] == broken


def test_index_names_a_page_once() -> None:
    """The front page leads to pages of each kind, and to none of them twice."""
    links = re.findall(r"^- .*?\]\(([\w/-]+)\.md\)", prose_of(DOCS / "index.md"), re.MULTILINE)
    assert {"tutorial", "how-to", "explanation", "reference"} == {link.partition("/")[0] for link in links}
    assert sorted(set(links)) == sorted(links)


def test_reference_has_every_public_name() -> None:
    """The reference describes what `__all__` exports, each name once, and nothing else."""
    pages = [page.read_text(encoding="utf-8") for page in RUN_PAGES if DOCS / "reference" in page.parents]
    described = re.findall(r"^\.\. auto\w+:: (\S+)$", "\n".join(pages), re.MULTILINE)
    modules = [
        kraken_fastkey,
        kraken_fastkey.stores,
        kraken_fastkey.sandbox,
        kraken_fastkey.testing,
        kraken_fastkey.otel,
    ]
    public = [f"{module.__name__}.{name}" for module in modules for name in module.__all__]
    assert sorted(public) == sorted(described)


def error_classes() -> dict[str, type[FastKeyError]]:
    """Return the public exceptions by name."""
    exported = {name: getattr(kraken_fastkey, name) for name in kraken_fastkey.__all__}
    return {name: cls for name, cls in exported.items() if isinstance(cls, type) and issubclass(cls, FastKeyError)}


def test_errors_page_draws_the_tree() -> None:
    """The drawn tree has each class below its base, and a second base in brackets."""
    drawing = next(block.code for block in blocks_of(DOCS / "reference/errors.md") if "├──" in block.code)
    drawn: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in drawing.splitlines():
        found = re.fullmatch(r"(?P<indent>[│├└─ ]*)(?P<name>\w+)(?: \((?P<second>\w+)\))?", line)
        assert found is not None
        depth = len(found["indent"]) // 4
        bases = ([path[depth - 1]] if depth else ["Exception"]) + ([found["second"]] if found["second"] else [])
        drawn[found["name"]] = tuple(bases)
        path = [*path[:depth], found["name"]]
    real = {name: tuple(base.__name__ for base in cls.__bases__) for name, cls in error_classes().items()}
    assert real == drawn


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    section = re.split(rf"^## {re.escape(heading)}\n", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    table = section[section.index("| ") :].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_each_error_has_a_section_where_its_text_leads() -> None:
    """Each class has one section, under its address's anchor, that tells cause, outcome and remedy in this order."""
    page = DOCS / "reference/errors.md"
    parts = re.split(r"^## (\w+Error)\n", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(error_classes()) == sorted(parts[1::2])
    for name, cls in error_classes().items():
        address = cls.__new__(cls).help_url
        assert (f"{_errors.DOCUMENTATION_URL}/errors/", name.lower()) == tuple(address.split("#"))
        assert name.lower() in anchors_of(page)
        assert ["Cause", "At Kraken", "Remedy"] == re.findall(r"^\*\*([\w ]+)\.\*\* \S", sections[name], re.MULTILINE)


def test_address_of_errors_leads_on_to_their_page() -> None:
    """The short address is a page of the built documentation that leads to the errors, and to the section."""
    page = (DOCS / "_extra/errors/index.html").read_text(encoding="utf-8")
    assert 'location.replace("../reference/errors.html" + location.hash)' in page
    assert "/errors/" == _errors._ERRORS_URL.removeprefix(_errors.DOCUMENTATION_URL)


def test_errors_page_tells_what_an_error_carries() -> None:
    """The table has a row for each attribute of the root."""
    assert set(vars(FastKeyError("a text"))) == {
        row[0].strip("`") for row in rows_of("reference/errors.md", "What an error carries")
    }


def quoted_default(text: str) -> float | None:
    """Return the number that a cell quotes."""
    return None if text == "none" else float(text.removesuffix(" s"))


def test_retries_page_quotes_the_policys_defaults() -> None:
    """Each parameter of `RetryPolicy` is there, with its default."""
    quoted = {row[0].strip("`"): row[1] for row in rows_of("reference/retries.md", "RetryPolicy")}
    assert "always" == quoted.pop("retry_if")
    defaults = {field.name: field.default for field in attrs.fields(RetryPolicy) if field.name != "retry_if"}
    assert defaults == {name: quoted_default(text) for name, text in quoted.items()}


def test_retries_page_quotes_the_timeouts() -> None:
    """Each phase of `Timeouts` is there, with its default."""
    quoted = {row[0].strip("`"): quoted_default(row[1]) for row in rows_of("reference/retries.md", "Deadline")}
    assert {field.name: field.default for field in attrs.fields(Timeouts)} == quoted


def test_retries_page_quotes_the_waits() -> None:
    """The longest waits are those of the default policy, for as many retries as it allows."""
    policy = RetryPolicy()
    quoted = {int(row[0]): quoted_default(row[1]) for row in rows_of("reference/retries.md", "How long it waits")}
    almost_one = 1 - 2**-53
    waits = {
        retry: policy.wait_before_retry(
            TransportError("no connection"), repeatable=True, attempts=retry, elapsed=0, random=almost_one
        )
        for retry in range(1, policy.max_attempts)
    }
    assert waits == pytest.approx(quoted)


def test_retries_page_quotes_the_fixed_numbers() -> None:
    """The numbers that nobody can set are the code's."""
    assert [
        1 / _retry._PER_RETRY,
        1 / _retry._PER_RETRY,
        _engine._MAX_REJECTED_TOKENS,
        _account.LOCKOUT_SECONDS,
        sum(_janitor.SETTLING),
        _listing._SECONDS_BETWEEN_LOOKS,
        _janitor._WATCH_SECONDS,
        _janitor._MAX_WATCH_SECONDS,
        _transport._MAX_CONNECTIONS,
        MAX_ANSWER_BYTES,
        _retry._SHARE_FOR_THE_ATTEMPT,
    ] == [quoted_default(row[1]) for row in rows_of("reference/retries.md", "Numbers that are fixed")]


def test_retries_page_tells_what_is_sent_again() -> None:
    """The table of calls and outcomes is what the policy decides."""
    calls: list[_wire.Call[Any]] = [
        _wire.create_key(CreateKeyRequest(), time.time()),
        _wire.update_key(UpdateKeyRequest("grid-bot"), time.time()),
        _wire.delete_key("grid-bot"),
        _wire.list_keys(_wire.LIST_PATHS[0]),
        _wire.get_user_info(),
    ]
    errors = [
        TransportError("no connection", outcome="not_sent"),
        RateLimitedError("wait"),
        InvalidArgumentsError("mend it"),
        ServiceUnavailableError("down"),
    ]

    def may_wait(error: FastKeyError, *, repeatable: bool) -> bool:
        wait = RetryPolicy().wait_before_retry(error, repeatable=repeatable, attempts=1, elapsed=0, random=0)
        return wait is not None

    def sent_again(call: _wire.Call[Any], error: FastKeyError) -> str:
        if may_wait(error, repeatable=call.repeatable):
            return "yes"
        # Once it is known that nothing is left of the attempt, it does no harm.
        return "after looking" if may_wait(error, repeatable=True) else "no"

    decided = [[f"`{call.operation}()`", *(sent_again(call, error) for error in errors)] for call in calls]
    assert decided == rows_of("reference/retries.md", "What is sent again")


def test_lost_answers_page_tells_when_the_client_looks() -> None:
    """The looks in the table are those of a name that the client has generated, until one counts."""
    looks = [*itertools.accumulate(_janitor.SETTLING), _janitor._WATCH_SECONDS]
    assert _janitor._WATCH_SECONDS == sum(_janitor.SETTLING) + _janitor._LATE_LOOK
    rows = rows_of("explanation/lost-answers.md", "A generated name")
    assert [[str(number), f"{seconds:g}"] for number, seconds in enumerate(looks, 1)] == rows
    *early, last = (f"{seconds:g}" for seconds in looks[:-1])
    page = (DOCS / "explanation/lost-answers.md").read_text(encoding="utf-8")
    assert f"lists the keys {', '.join(early)} and {last} seconds after the doubt" in page


def test_the_events_page_has_each_event_and_its_level() -> None:
    """The table names each class of events, its name, and the level at which it is logged."""
    expected = []
    for event in event_classes():
        record = _log_records.RECORDS.get(event.name)
        level = "" if record is None else logging.getLevelName(record[0])
        expected.append([f"`{event.name}`", f"`{event.__name__}`", level])
    assert sorted(expected) == sorted(row[:3] for row in rows_of("reference/events.md", "Event names"))


class _Meter(metrics.NoOpMeter):
    """A meter that notes what it is to measure, as the rows of a table."""

    rows: ClassVar[list[list[str]]] = []

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        self.rows.append([f"`{name}`", "counter", f"`{unit}`"])
        return super().create_counter(name, unit, description)

    def create_histogram(self, name: str, unit: str = "", description: str = "", **options: Any) -> metrics.Histogram:
        self.rows.append([f"`{name}`", "histogram", f"`{unit}`"])
        return super().create_histogram(name, unit, description, **options)

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        self.rows.append([f"`{name}`", "gauge", f"`{unit}`"])
        return super().create_observable_gauge(name, callbacks, unit, description)


class _MeterProvider(metrics.NoOpMeterProvider):
    def get_meter(self, name: str, *_: Any, **__: Any) -> metrics.Meter:
        return _Meter(name)


def test_the_events_page_has_each_metric() -> None:
    """The table names each instrument of the observer, with its kind and unit."""
    _Meter.rows.clear()
    kraken_fastkey.otel.OpenTelemetryObserver(meter_provider=_MeterProvider())
    assert sorted(_Meter.rows) == sorted(row[:3] for row in rows_of("reference/events.md", "Metrics"))


def test_the_queries_ask_for_what_there_is() -> None:
    """Each name in the queries for Prometheus is a metric, or an attribute of it, by the rules of its exporter."""
    known = {"le", "otel_scope_name"}
    for name, kind, unit, attributes in rows_of("reference/events.md", "Metrics"):
        metric = name.strip("`").replace(".", "_") + ("_seconds" if unit == "`s`" else "")
        suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_count", "_sum", "_bucket"]}[kind]
        known |= {metric + suffix for suffix in suffixes}
        known |= {attribute.replace(".", "_") for attribute in re.findall(r"`([\w.]+)`", attributes)}
    page = "how-to/observe.md"
    queries = [cell for title in ("A dashboard", "Alarms") for row in rows_of(page, title) for cell in row[1:]]
    asked = set(re.findall(r"\b(?:kraken_fastkey|http|error|otel|server)_\w+", " ".join(queries)))
    assert 15 < len(asked)
    assert set() == asked - known
