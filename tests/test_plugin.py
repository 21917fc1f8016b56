"""The plugin of pytest, as a user's project has it: under each plugin for async tests, in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ASYNC_TESTS = """
import asyncio, logging
import pytest
from kraken_fastkey import CreateKeyRequest, FastKeyClient, KeyLease, Permissions, StaticTokenProvider
from kraken_fastkey.sandbox import FAULTS, Disconnect, Drip

pytestmark = [{marks}]

async def test_key_is_made(kraken_client, kraken_sandbox):
    key = await kraken_client.create_key(CreateKeyRequest("grid-bot"))
    assert [key.api_key] == [held.api_key for held in kraken_sandbox.keys()]
    assert ["create_key"] == [request.operation for request in kraken_sandbox.requests]

async def test_each_test_has_its_own(kraken_sandbox, kraken_faults):
    assert () == kraken_sandbox.keys()
    assert () == kraken_faults.pending

async def test_own_client_lives_in_the_same_time(kraken_sandbox, kraken_token, kraken_clock, kraken_faults):
    kraken_faults.add(FAULTS["429_seconds"])
    before = kraken_clock.time()
    async with FastKeyClient(StaticTokenProvider(kraken_token), base_url=kraken_sandbox.base_url) as client:
        assert () == await client.list_keys()
    assert 7 == kraken_clock.time() - before

async def test_token_expires_and_is_refreshed(kraken_client, kraken_sandbox, kraken_clock):
    await kraken_client.list_keys()
    await kraken_clock.travel(hours=5)
    await kraken_client.list_keys()
    assert ["list_keys", "token", "list_keys"] == [request.operation for request in kraken_sandbox.requests]

async def test_lease_outlives_everything(kraken_client, kraken_sandbox, kraken_clock, kraken_faults):
    async with KeyLease(kraken_client, CreateKeyRequest(permissions=Permissions(funds_query=True))) as lease:
        first = lease.key
        kraken_faults.add(FAULTS["429"], operation="create_key")
        kraken_faults.add(Disconnect(commit=True), operation="create_key")
        await kraken_clock.travel(hours=5)
        assert first.api_key != lease.key.api_key
        assert [lease.key.api_key] == [key.api_key for key in kraken_sandbox.keys()]
    assert () == kraken_sandbox.keys()

async def test_unreachable(kraken_client, kraken_sandbox):
    async with kraken_sandbox.unreachable():
        with pytest.raises(Exception, match="no connection"):
            await kraken_client.list_keys()
    assert () == await kraken_client.list_keys()

async def test_fixture_of_mine_outlives_no_client(my_bot, kraken_sandbox):
    assert ["my-key"] == [key.api_key_name for key in kraken_sandbox.keys()]

async def test_client_that_is_not_used(kraken_client):
    pass

@pytest.fixture
def nothing_is_left(kraken_sandbox):
    yield
    assert ["create_key", "delete_key"] == [request.operation for request in kraken_sandbox.requests]
    assert () == kraken_sandbox.keys()

async def test_cancelled_create_is_cleared_up_when_the_client_closes(nothing_is_left, kraken_client, kraken_sandbox):
    kraken_sandbox.faults.add(Drip(50, 0.05), operation="create_key")  # slowly
    task = asyncio.create_task(kraken_client.create_key(CreateKeyRequest("grid-bot")))
    while not kraken_sandbox.requests:
        await asyncio.sleep(0.001)
    task.cancel()
"""

MY_BOT = """
import asyncio
import pytest
from kraken_fastkey import CreateKeyRequest
{imports}

@{fixture}
async def my_bot({arguments}kraken_client, kraken_sandbox):
    await kraken_client.create_key(CreateKeyRequest("my-key"))
    yield
    await kraken_client.delete_key("my-key")  # the client is still open
    assert () == kraken_sandbox.keys()
"""

SYNC_TESTS = """
import asyncio, json, subprocess, sys, urllib.request
from datetime import UTC, datetime
import pytest
from kraken_fastkey import CreateKeyRequest, Grant, TooManyKeysError
from kraken_fastkey.sandbox import FAULTS

def ask(sandbox, token):
    request = urllib.request.Request(sandbox.base_url + "/fast-api-keys", headers={"Authorization": "Bearer " + token})
    return urllib.request.urlopen(request, timeout=10)

def test_blocking_code_is_answered(kraken_sandbox, kraken_token):
    with ask(kraken_sandbox, kraken_token) as answer:
        assert {"result": []} == json.load(answer)

def test_token_expires_at_a_jump(kraken_sandbox, kraken_token, kraken_clock):
    kraken_clock.jump(hours=5)
    with pytest.raises(OSError, match="401"):
        ask(kraken_sandbox, kraken_token)

def test_bot_in_a_process_of_its_own(kraken_sandbox, kraken_token, kraken_faults):
    kraken_faults.add(FAULTS["503_json"], operation="list_keys")
    program = (
        "import asyncio, sys\\nfrom kraken_fastkey import *\\n"
        "async def main():\\n"
        "    tokens, retry = StaticTokenProvider(sys.argv[2]), RetryPolicy(backoff=0.001, max_backoff=0.001)\\n"
        "    async with FastKeyClient(tokens, base_url=sys.argv[1], retry=retry) as client:\\n"
        "        print(await client.list_keys())\\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, kraken_sandbox.base_url, kraken_token]
    assert "()\\n" == subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert [503, 200] == [request.status for request in kraken_sandbox.requests]

def test_client_in_a_loop_of_my_own(kraken_client, kraken_sandbox, kraken_faults, kraken_clock):
    kraken_faults.add(FAULTS["429_seconds"])
    async def main():
        async with kraken_client:
            await kraken_client.create_key(CreateKeyRequest("grid-bot"))
    asyncio.run(main())
    assert ["grid-bot"] == [key.api_key_name for key in kraken_sandbox.keys()]

def test_grant_is_of_now(kraken_grant, kraken_clock, kraken_sandbox):
    assert isinstance(kraken_grant, Grant)
    assert 4 * 3600 == (kraken_grant.expires_at - kraken_clock.now()).total_seconds()
    assert [] == kraken_sandbox.requests
    assert datetime.fromtimestamp(kraken_clock.time(), UTC) == kraken_clock.now()

@pytest.fixture
def kraken_sandbox_options():
    return {"max_keys": 2}

def test_options_reach_the_sandbox(kraken_client, kraken_sandbox):
    async def main():
        async with kraken_client:
            for name in ("one", "two"):
                await kraken_client.create_key(CreateKeyRequest(name))
            with pytest.raises(TooManyKeysError):
                await kraken_client.create_key(CreateKeyRequest("three"))
    asyncio.run(main())
"""


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class Project:
    """A user's project, with the package installed.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        # As pip would leave it; how the package itself is installed here does not matter then.
        metadata = folder / "site" / "kraken_fastkey-0.dist-info"
        metadata.mkdir(parents=True)
        points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
        lines = ["[pytest11]", *(f"{name} = {target}" for name, target in points["pytest11"].items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: kraken-fastkey\nVersion: 0\n", encoding="utf-8"
        )
        self.path = os.pathsep.join([str(ROOT), str(metadata.parent)])

    def write(self, **files: str) -> None:
        """Write modules."""
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(text, encoding="utf-8")

    def run(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run pytest; a warning is an error."""
        # Plugins that have nothing to do with it take seconds to start.
        settings = ["-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:hypothesispytest"]
        if "no:asyncio" not in options:
            settings += ["-o", "asyncio_default_fixture_loop_scope=function"]
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", "-v", "-W", "error", *settings, *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": self.path, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def passed(self, *options: str, **variables: str) -> set[str]:
        """Run pytest, and return the tests that passed; it is an error if any failed or warned."""
        done = self.run(*options, **variables)
        assert 0 == done.returncode, done.stdout + done.stderr
        assert "Warning" not in done.stdout + done.stderr
        return set(re.findall(r"::(\w+)\S* PASSED", done.stdout)) | set(re.findall(r"PASSED \S*::(\w+)", done.stdout))


def names_in(text: str) -> set[str]:
    """Return the tests that a module has."""
    return set(re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE))


def bot(imports: str, fixture: str, arguments: str = "") -> str:
    """Return a conftest with an async fixture of the user's own."""
    return MY_BOT.format(imports=imports, fixture=fixture, arguments=arguments)


STRICT = "--asyncio-mode=strict"
AUTO = "--asyncio-mode=auto"


@pytest.mark.parametrize(
    ("marks", "fixture", "options"),
    [
        pytest.param("", "pytest.fixture", [AUTO], id="auto"),
        pytest.param("pytest.mark.asyncio", "pytest_asyncio.fixture", [STRICT], id="strict"),
        pytest.param(
            "",
            "pytest_asyncio.fixture(loop_scope='session')",
            [AUTO, "-o", "asyncio_default_test_loop_scope=session"],
            id="session",
        ),
    ],
)
def test_under_pytest_asyncio(project: Project, marks: str, fixture: str, options: list[str]) -> None:
    """All fixtures work in both modes, and wherever the test's event loop comes from."""
    tests = ASYNC_TESTS.format(marks=marks)
    project.write(conftest=bot("import pytest_asyncio", fixture), test_bot=tests)
    assert names_in(tests) == project.passed(*options)


@pytest.mark.parametrize("options", [[STRICT], ["-p", "no:asyncio"]], ids=["both", "alone"])
def test_under_anyio(project: Project, options: list[str]) -> None:
    """All fixtures work on anyio's asyncio backend, with pytest-asyncio beside it or without."""
    tests = ASYNC_TESTS.format(marks="pytest.mark.anyio")
    backend = "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    project.write(conftest=bot("", "pytest.fixture", "anyio_backend, ") + backend, test_bot=tests)
    assert names_in(tests) == project.passed(*options)


def test_two_plugins_that_take_one_test_are_told_apart(project: Project) -> None:
    """Where pytest-asyncio takes what is anyio's, which breaks async fixtures of any kind, the test says so."""
    project.write(
        test_both="""
import pytest
@pytest.mark.anyio
async def test_it(kraken_client):
    await kraken_client.list_keys()
"""
    )
    assert "set pytest-asyncio's asyncio_mode to 'strict'" in project.run(AUTO).stdout


def test_on_trio_what_needs_asyncio_is_skipped(project: Project) -> None:
    """On trio the client's tests are skipped, with the reason; the sandbox works there, too."""
    pytest.importorskip("trio")
    tests = """
import anyio, pytest
pytestmark = pytest.mark.anyio
async def test_client(kraken_client):
    await kraken_client.list_keys()
async def test_sandbox(kraken_sandbox, kraken_token):
    kraken_sandbox.faults.clear()
    assert () == kraken_sandbox.keys()
"""
    project.write(test_bot=tests)
    done = project.run("-rs")
    assert 0 == done.returncode, done.stdout
    assert {"test_client[asyncio] PASSED", "test_client[trio] SKIPPED", "test_sandbox[trio] PASSED"} <= set(
        re.findall(r"::(\S+ \w+)", done.stdout)
    )
    assert "kraken_fastkey needs asyncio, and this test runs on trio" in done.stdout


def test_without_an_event_loop(project: Project) -> None:
    """The sandbox answers blocking code, another process, and a loop of the test's own."""
    project.write(test_sync=SYNC_TESTS)
    assert names_in(SYNC_TESTS) == project.passed()


def test_under_xdist(project: Project) -> None:
    """Each worker has sandboxes of its own."""
    tests = ASYNC_TESTS.format(marks="")
    project.write(conftest=bot("", "pytest.fixture"), test_bot=tests)
    assert names_in(tests) == project.passed(AUTO, "-n", "2")


@pytest.mark.parametrize(
    ("conftest", "options", "variables"),
    [
        pytest.param('pytest_plugins = ["kraken_fastkey.testing"]', [], {}, id="by itself, and asked for"),
        pytest.param("", ["-p", "kraken_fastkey.testing"], {}, id="by itself, and as an option"),
        pytest.param(
            'pytest_plugins = ["kraken_fastkey.testing"]',
            ["-p", "pytest_asyncio.plugin"],
            {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            id="asked for",
        ),
    ],
)
def test_it_is_loaded_once(project: Project, conftest: str, options: list[str], variables: dict[str, str]) -> None:
    """However it is loaded, and in however many ways, its fixtures and its hook are there once."""
    tests = """
def test_once(pytestconfig, kraken_sandbox):
    plugins = [str(plugin) for plugin in pytestconfig.pluginmanager.get_plugins()]
    assert 1 == len([plugin for plugin in plugins if "testing/_plugin.py" in plugin])
"""
    project.write(conftest=conftest, test_once=tests)
    done = project.run(*options, **variables)
    assert re.search(r"test_once PASSED", done.stdout), done.stdout + done.stderr


def test_it_can_be_left_out(project: Project) -> None:
    """`-p no:kraken_fastkey.testing` leaves it out."""
    project.write(test_it="def test_it(kraken_sandbox): pass")
    assert "fixture 'kraken_sandbox' not found" in project.run("-p", "no:kraken_fastkey.testing").stdout


def test_start_of_pytest_imports_next_to_nothing(project: Project) -> None:
    """Where no test asks for a fixture, neither the client nor aiohttp nor asyncio is imported on its account."""
    tests = """
import sys
def test_it():
    ours = {name for name in sys.modules if name.startswith("kraken_fastkey")}
    assert {"", ".testing", ".testing._plugin"} >= {name[len("kraken_fastkey"):] for name in ours}
    assert "kraken_fastkey.testing._plugin" in ours
    assert set() == {"aiohttp", "attrs", "cattrs"} & set(sys.modules)
"""
    project.write(test_it=tests)
    assert {"test_it"} == project.passed("-p", "no:anyio", "-p", "no:xdist")


LEAKS = """
import logging, sys, traceback
from urllib.parse import quote
import pytest
from kraken_fastkey import CreateKeyRequest
pytestmark = pytest.mark.usefixtures("kraken_leak_check")

async def test_clean(kraken_client):
    key = await kraken_client.create_key(CreateKeyRequest("grid-bot"))
    logging.debug("made %r", key)
    print(key, key.api_key)

async def test_printed(kraken_client):
    key = await kraken_client.create_key(CreateKeyRequest("grid-bot"))
    print("here it is:", key.secret.get_secret_value())

def test_printed_to_stderr(kraken_token):
    print(kraken_token, file=sys.stderr)

def test_logged(kraken_token):
    logging.getLogger("my.bot").debug("Authorization: Bearer %s", kraken_token)

def test_logged_with_a_traceback(kraken_grant):
    try:
        raise ValueError(kraken_grant.refresh_token.get_secret_value())
    except ValueError:
        logging.exception("oh")

async def test_percent_encoded(kraken_client):
    key = await kraken_client.create_key(CreateKeyRequest("grid-bot"))
    print(quote(key.secret.get_secret_value(), safe=""))

@pytest.fixture
def leaks_at_its_end(kraken_token):
    yield
    print(kraken_token)

def test_printed_by_a_fixture(leaks_at_its_end): pass
"""


def test_leaks_are_found(project: Project) -> None:
    """A secret that is printed or logged, at any level, fails the test, and is not in the failure's text."""
    project.write(test_leaks=LEAKS)
    done = project.run(AUTO, "-rA", "--show-capture=no")
    verdicts = dict(re.findall(r"::(\w+) (PASSED|FAILED|ERROR)", done.stdout))
    fails = dict.fromkeys(names_in(LEAKS), "FAILED")
    # At the end of its fixtures, a test has passed already: pytest tells of an error then.
    assert {**fails, "test_clean": "PASSED", "test_printed_by_a_fixture": "ERROR"} == verdicts
    assert "Captured stdout call, line 1: here it is: <secret>" in done.stdout
    assert "Captured stderr call, line 1: <secret>" in done.stdout
    assert "Authorization: Bearer <secret>" in done.stdout
    assert 6 == len(re.findall(r"^secrets of the sandbox came to light:$", done.stdout, re.MULTILINE))


def test_without_pytest_it_says_so() -> None:
    """Who imports it without pytest is told what to install."""
    program = """
import sys
sys.modules["pytest"] = None
try:
    import kraken_fastkey.testing
except ImportError as error:
    print(error, error.__cause__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "pip install pytest None\n" == done.stdout[-len("pip install pytest None\n") :]
