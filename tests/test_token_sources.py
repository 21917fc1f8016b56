"""Token providers for an environment variable, a file and a command: always what is there now, never shown."""
# a small local file may block a test

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from strategies import package_locals

from kraken_fastkey import (
    AccessToken,
    AuthenticationError,
    CommandTokenProvider,
    EnvironmentTokenProvider,
    FastKeyError,
    FileTokenProvider,
    InvalidRequestError,
    TokenUnavailableError,
)

FAKE = "FAKE-token-8c1f"
OTHER = "FAKE-token-77aa"
ODD = "strip() it, if it was read from a file"


def token_of(token: AccessToken) -> str:
    """Return a token's text."""
    return token.value.get_secret_value()


# ---------------------------------------------------------------- environment


async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is looked up anew each time, and space around the token is stripped."""
    provider = EnvironmentTokenProvider()
    monkeypatch.setenv("KRAKEN_ACCESS_TOKEN", f" {FAKE}\n")
    first = await provider.get_token()
    monkeypatch.setenv("KRAKEN_ACCESS_TOKEN", OTHER)

    assert (FAKE, OTHER) == (token_of(first), token_of(await provider.get_token(rejected=first)))


async def test_environment_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable's name is the user's to choose."""
    monkeypatch.setenv("FAKE_VARIABLE", FAKE)

    assert token_of(await EnvironmentTokenProvider("FAKE_VARIABLE").get_token()) == FAKE


@pytest.mark.parametrize("content", [None, "", "  \n"])
async def test_environment_without_a_token(content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set, or empty, is told by its name."""
    monkeypatch.delenv("KRAKEN_ACCESS_TOKEN", raising=False)
    if content is not None:
        monkeypatch.setenv("KRAKEN_ACCESS_TOKEN", content)
    with pytest.raises(TokenUnavailableError) as caught:
        await EnvironmentTokenProvider().get_token()

    assert caught.value.summary == "the environment variable KRAKEN_ACCESS_TOKEN is not set, or empty: set it"
    assert caught.value.outcome == "not_sent"


@pytest.mark.parametrize("content", [f"Bearer {FAKE}", f"{FAKE}é", f"{FAKE}\n{FAKE}"])
async def test_environment_with_something_else(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no token is refused, and not shown."""
    monkeypatch.setenv("KRAKEN_ACCESS_TOKEN", content)
    with pytest.raises(InvalidRequestError, match="holds a space") as caught:
        await EnvironmentTokenProvider().get_token()

    assert "FAKE" not in package_locals(caught.value)


async def test_environment_that_still_holds_the_refused_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where the token came from."""
    monkeypatch.setenv("KRAKEN_ACCESS_TOKEN", FAKE)
    with pytest.raises(AuthenticationError) as caught:
        await EnvironmentTokenProvider().get_token(rejected=AccessToken(FAKE))

    assert caught.value.summary == (
        "Kraken refused the access token, and the environment variable KRAKEN_ACCESS_TOKEN still holds it: "
        "set a new one"
    )
    assert "FAKE" not in package_locals(caught.value)


@pytest.mark.parametrize("name", ["", "A=B", "A\0B", None, 5, b"A"])
def test_environment_needs_a_name(name: Any) -> None:
    """What can be no variable's name is refused when the provider is made."""
    with pytest.raises(InvalidRequestError) as caught:
        EnvironmentTokenProvider(name)

    assert caught.value.faults == {"variable": "must be the name of an environment variable"}


# ---------------------------------------------------------------- file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with a token in it."""
    file = tmp_path / "token"
    file.write_text(f"{FAKE}\n")
    return file


@pytest.mark.parametrize("kind", [str, Path])
async def test_file(path: Path, kind: type) -> None:
    """The file's content is the token, without the space around it."""
    assert token_of(await FileTokenProvider(kind(path)).get_token()) == FAKE


async def test_file_that_has_not_changed_is_not_read_again(path: Path) -> None:
    """The token is the same object as long as the file is the same."""
    provider = FileTokenProvider(path)

    assert await provider.get_token() is await provider.get_token()


async def test_file_whose_content_has_changed(path: Path) -> None:
    """New content is a new token, without a refusal first."""
    provider = FileTokenProvider(path)
    await provider.get_token()
    path.write_text("FAKE-a-longer-token\n")

    assert token_of(await provider.get_token()) == "FAKE-a-longer-token"


async def test_file_that_was_replaced(path: Path) -> None:
    """A new file in the place of the old one is read, even if its size and time are those of the old one."""
    provider = FileTokenProvider(path)
    await provider.get_token()
    before = path.stat()
    new = path.with_name("new")
    new.write_text(f"{OTHER}\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)

    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert token_of(await provider.get_token()) == OTHER


async def test_file_behind_swapped_links(tmp_path: Path) -> None:
    """Kubernetes swaps a link to a directory: the path is the same, the file is another."""
    for name, token in (("..1", FAKE), ("..2", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "token").symlink_to("..data/token")
    provider = FileTokenProvider(tmp_path / "token")
    first = await provider.get_token()
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")

    assert (FAKE, OTHER) == (token_of(first), token_of(await provider.get_token()))


async def test_file_is_read_again_after_a_refusal(path: Path) -> None:
    """A file that looks unchanged is read all the same once its token is refused: clocks are coarse."""
    provider = FileTokenProvider(path)
    first = await provider.get_token()
    before = path.stat()
    path.write_text(f"{OTHER}\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert token_of(await provider.get_token()) == FAKE
    assert token_of(await provider.get_token(rejected=first)) == OTHER
    assert token_of(await provider.get_token()) == OTHER


async def test_file_that_still_holds_the_refused_token(path: Path) -> None:
    """The error names the file."""
    with pytest.raises(AuthenticationError) as caught:
        await FileTokenProvider(path).get_token(rejected=AccessToken(FAKE))

    assert caught.value.summary == (
        f"Kraken refused the access token, and {path} still holds it: see to what writes the file"
    )


async def test_file_with_another_token_than_the_refused_one(path: Path) -> None:
    """A late refusal of an old token does no harm."""
    assert token_of(await FileTokenProvider(path).get_token(rejected=AccessToken(OTHER))) == FAKE


@pytest.mark.parametrize(
    ("kind", "reason"), [("missing", "No such file or directory"), ("directory", "Is a directory")]
)
async def test_file_that_cannot_be_read(kind: str, reason: str, tmp_path: Path) -> None:
    """The error says which file, and why; nothing was sent."""
    path = tmp_path / "token"
    if kind == "directory":
        path.mkdir()
    with pytest.raises(TokenUnavailableError) as caught:
        await FileTokenProvider(path).get_token()

    assert caught.value.summary == f"the token file {path} cannot be read: {reason}"
    assert (None, "not_sent") == (caught.value.__cause__, caught.value.outcome)


async def test_file_that_is_gone_is_an_error(path: Path) -> None:
    """A token whose file was taken away is not used any more."""
    provider = FileTokenProvider(path)
    await provider.get_token()
    path.unlink()

    with pytest.raises(TokenUnavailableError):
        await provider.get_token()


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10**7])
async def test_file_that_is_too_large(size: int, path: Path) -> None:
    """A large file is no token, and is not read to its end."""
    path.write_bytes(b"F" * size)

    with pytest.raises(TokenUnavailableError, match="is larger than 65536 bytes: no token is"):
        await FileTokenProvider(path).get_token()


async def test_file_of_the_greatest_size(path: Path) -> None:
    """The limit itself is allowed, space included."""
    path.write_bytes(b"F" * (64 * 1024 - 1) + b"\n")

    assert 64 * 1024 - 1 == len(token_of(await FileTokenProvider(path).get_token()))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\x7fELF\x00\xff\xfeFAKE", ODD),
        (f"{FAKE}\n{OTHER}".encode(), ODD),
        (f"\ufeff{FAKE}".encode(), ODD),
        (FAKE.encode("utf-16"), ODD),
        (b'{"access_token": "FAKE"}', ODD),
    ],
    ids=["binary", "two", "bom", "utf-16", "json"],
)
async def test_file_that_holds_something_else(content: bytes, fault: str, path: Path) -> None:
    """What is no token is refused, and not shown; the next good content is a token again."""
    provider = FileTokenProvider(path)
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError) as caught:
        await provider.get_token()

    assert fault in caught.value.faults["token"]
    assert "FAKE" not in package_locals(caught.value)
    path.write_text(FAKE)
    assert token_of(await provider.get_token()) == FAKE


@pytest.mark.parametrize("content", [b"", b" \n"])
async def test_file_that_is_empty(content: bytes, path: Path) -> None:
    """A file that is being written may be empty for a moment: there is no token, and later there is."""
    provider = FileTokenProvider(path)
    path.write_bytes(content)
    with pytest.raises(TokenUnavailableError, match="is empty"):
        await provider.get_token()
    path.write_text(FAKE)
    assert token_of(await provider.get_token()) == FAKE


@pytest.mark.parametrize("path", [None, 5, b"token"])
def test_file_needs_a_path(path: Any) -> None:
    """What is no path is refused when the provider is made."""
    with pytest.raises(InvalidRequestError) as caught:
        FileTokenProvider(path)

    assert caught.value.faults == {"path": f"must be a path, not {type(path).__name__}"}


async def test_file_with_an_impossible_name() -> None:
    """A name that no file can have is an error of ours as well."""
    with pytest.raises(FastKeyError):
        await FileTokenProvider("a\0b").get_token()


async def test_file_provider_hides_its_token(path: Path) -> None:
    """Neither the provider nor its attributes show it."""
    provider = FileTokenProvider(path)
    await provider.get_token()

    assert "FAKE" not in f"{provider!r} {vars(provider)}"


# ---------------------------------------------------------------- command


def python(code: str, *arguments: object) -> list[str]:
    """Return a command that runs some Python, quickly."""
    return [sys.executable, "-S", "-I", "-c", code, *map(str, arguments)]


COUNTING = """
import os, sys
file = os.open(sys.argv[1], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
os.write(file, b"x")
print(sys.argv[2] + str(os.fstat(file).st_size))
sys.exit(int(sys.argv[3]))
"""


def counting(file: Path, *, prefix: str = "FAKE-", status: int = 0) -> CommandTokenProvider:
    """Return a provider whose command counts its runs in a file, and prints the number."""
    return CommandTokenProvider(python(COUNTING, file, prefix, status))


def runs(file: Path) -> int:
    """Return how often the counting command has run."""
    return file.stat().st_size if file.exists() else 0


async def test_command() -> None:
    """What the command prints is the token, without the space around it."""
    provider = CommandTokenProvider(python("import sys; print(' ', sys.argv[1])", FAKE))

    assert token_of(await provider.get_token()) == FAKE


async def test_command_runs_no_shell(tmp_path: Path) -> None:
    """Arguments reach the program as they are."""
    odd = f"$(touch${{IFS}}{tmp_path}/made);`x`|*"

    assert token_of(await CommandTokenProvider(python("import sys; print(sys.argv[1])", odd)).get_token()) == odd
    assert [] == list(tmp_path.iterdir())


async def test_command_runs_once_for_many_tasks(tmp_path: Path) -> None:
    """Fifty tasks at once get the token of one run, and so does who comes later."""
    provider = counting(tmp_path / "runs")
    tokens = await asyncio.gather(*(provider.get_token() for _ in range(50)))

    assert {"FAKE-1"} == {token_of(token) for token in (*tokens, await provider.get_token())}
    assert runs(tmp_path / "runs") == 1


async def test_command_runs_once_more_after_a_refusal(tmp_path: Path) -> None:
    """Fifty refusals of one token are one new run; a late one of an old token is none."""
    provider = counting(tmp_path / "runs")
    first = await provider.get_token()
    tokens = await asyncio.gather(*(provider.get_token(rejected=first) for _ in range(50)))

    assert {"FAKE-2"} == {token_of(token) for token in (*tokens, await provider.get_token(rejected=first))}
    assert runs(tmp_path / "runs") == 2


async def test_refusal_of_a_token_from_before(tmp_path: Path) -> None:
    """A provider that has run nothing yet runs once, whatever was refused."""
    provider = counting(tmp_path / "runs")

    assert token_of(await provider.get_token(rejected=AccessToken(OTHER))) == "FAKE-1"


async def test_command_that_prints_the_refused_token_again() -> None:
    """The error names the program, and not the token."""
    command = python("print('FAKE-same')")
    provider = CommandTokenProvider(command)
    first = await provider.get_token()
    with pytest.raises(AuthenticationError) as caught:
        await provider.get_token(rejected=first)

    assert caught.value.summary == f"Kraken refused the access token, and the command {sys.executable} printed it again"


@pytest.mark.parametrize("prefix", ["FAKE-", "no token "], ids=["exit status", "no token"])
async def test_command_that_fails_runs_once_for_many_tasks(prefix: str, tmp_path: Path) -> None:
    """Who waits for a run shares its failure, too: a vault that is down is not asked by each in turn."""
    provider = counting(tmp_path / "runs", prefix=prefix, status=3 if prefix == "FAKE-" else 0)
    failures = await asyncio.gather(*(provider.get_token() for _ in range(10)), return_exceptions=True)

    assert {TokenUnavailableError if prefix == "FAKE-" else InvalidRequestError} == {type(f) for f in failures}
    assert runs(tmp_path / "runs") == 1


async def test_command_that_failed_runs_again(tmp_path: Path) -> None:
    """A failure is not held on to."""
    code = "import os, sys; sys.exit(not os.path.exists(sys.argv[1])) if not os.path.exists(sys.argv[1]) else print(5)"
    provider = CommandTokenProvider(python(code, tmp_path / "vault"))
    with pytest.raises(TokenUnavailableError):
        await provider.get_token()
    (tmp_path / "vault").touch()

    assert token_of(await provider.get_token()) == "5"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('FAKE-x'); raise SystemExit(3)", "ended with status 3: run it by hand to see why"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9: run it by hand to see why"),
        ("pass", "printed nothing"),
        ("print('  ')", "printed nothing"),
        ("import sys; print('FAKE-x', file=sys.stderr)", "printed nothing"),
    ],
)
async def test_command_that_fails(code: str, reason: str) -> None:
    """The error says which program, and what went wrong, and shows nothing that it printed."""
    with pytest.raises(TokenUnavailableError) as caught:
        await CommandTokenProvider(python(code)).get_token()

    assert caught.value.summary == f"the token command {sys.executable} {reason}"
    assert "FAKE-x" not in package_locals(caught.value).replace(code, "").replace(repr(code)[1:-1], "")
    assert (None, "not_sent") == (caught.value.__cause__, caught.value.outcome)


@pytest.mark.parametrize(
    ("program", "reason"),
    [("no-such-program", "No such file or directory"), ("/", "Permission denied"), ("a\0b", "")],
    ids=["missing", "directory", "impossible"],
)
async def test_command_that_cannot_be_run(program: str, reason: str) -> None:
    """A program that is missing is told, as an error of ours."""
    with pytest.raises(FastKeyError) as caught:
        await CommandTokenProvider([program]).get_token()

    assert reason in str(caught.value)


@pytest.mark.parametrize("output", ["two words", "FAKE\\n\\nFAKE", "\\xe9FAKE"])
async def test_command_that_prints_something_else(output: str) -> None:
    """What is no token is refused, and not shown."""
    code = f"import sys; sys.stdout.buffer.write(b'{output}')"
    with pytest.raises(InvalidRequestError) as caught:
        await CommandTokenProvider(python(code)).get_token()

    assert {"token"} == caught.value.faults.keys()
    assert "FAKE" not in str(caught.value)


async def test_command_has_no_input() -> None:
    """A command that asks for something gets no answer, instead of waiting for ever."""
    provider = CommandTokenProvider(python("import sys; print(len(sys.stdin.read()))"))

    assert token_of(await provider.get_token()) == "0"


async def test_output_of_a_command_is_bounded() -> None:
    """A command that prints without end is refused as a large file is, long before its time is up."""
    provider = CommandTokenProvider(python("print('F' * 1_000_000)"))

    with pytest.raises(FastKeyError):
        await provider.get_token()


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("echo token", "must be a list, as no shell is involved: write shlex.split(...) around it"),
        ([], "must be a list of the program and its arguments, each a str"),
        ((), "must be a list of the program and its arguments, each a str"),
        (None, "must be a list of the program and its arguments, each a str"),
        (5, "must be a list of the program and its arguments, each a str"),
        ([5], "must be a list of the program and its arguments, each a str"),
        (["echo", None], "must be a list of the program and its arguments, each a str"),
        (b"echo", "must be a list of the program and its arguments, each a str"),
    ],
)
def test_what_is_no_command_is_refused(command: Any, fault: str) -> None:
    """A line for a shell is refused, with its remedy."""
    with pytest.raises(InvalidRequestError) as caught:
        CommandTokenProvider(command)

    assert caught.value.faults == {"command": fault}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "5", None])
def test_timeout_is_checked(timeout: Any) -> None:
    """All faults are told at once."""
    with pytest.raises(InvalidRequestError) as caught:
        CommandTokenProvider("echo", timeout=timeout)

    assert {"command", "timeout"} == caught.value.faults.keys()
    assert caught.value.faults["timeout"] == "must be seconds, more than 0"


async def test_command_may_be_made_of_paths() -> None:
    """A path is an argument like any other."""
    command = [Path(sys.executable), *python("print('FAKE-path')")[1:]]

    assert token_of(await CommandTokenProvider(command).get_token()) == "FAKE-path"  # type: ignore[arg-type]


WAITING = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-I", "-c", "import signal; signal.pause()"])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.replace(sys.argv[1] + ".new", sys.argv[1])
signal.pause()
"""


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def ended(pids: list[int]) -> bool:
    """Wait a moment for processes to end, and tell whether they have."""
    try:
        async with asyncio.timeout(5):
            while any(is_running(pid) for pid in pids):
                await asyncio.sleep(0.005)
    except TimeoutError:
        for pid in pids:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        return False
    return True


async def started(file: Path) -> list[int]:
    """Wait for the waiting command to start, and return its process and its child's."""
    async with asyncio.timeout(10):
        while not file.exists():
            await asyncio.sleep(0.005)
    return [int(pid) for pid in file.read_text().split()]


async def test_command_that_takes_too_long() -> None:
    """After its time it is killed, and the error says so."""
    began = time.monotonic()
    with pytest.raises(TokenUnavailableError) as caught:
        await CommandTokenProvider(python("import signal; signal.pause()"), timeout=0.05).get_token()

    assert caught.value.summary == f"the token command {sys.executable} took longer than 0.05 s"
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)
    assert time.monotonic() - began < 5


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@linux
async def test_cancellation_kills_the_command(tmp_path: Path) -> None:
    """Who is cancelled leaves no process behind, nor what that had started."""
    provider = CommandTokenProvider(python(WAITING, tmp_path / "pids"))
    task = asyncio.create_task(provider.get_token())
    pids = await started(tmp_path / "pids")
    assert [True, True] == [is_running(pid) for pid in pids]
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(pids[0])
    assert await ended(pids)


@linux
async def test_timeout_kills_what_the_command_has_started(tmp_path: Path) -> None:
    """A wrapper script's child does not go on without it."""
    provider = CommandTokenProvider(python(WAITING, tmp_path / "pids"), timeout=0.3)
    with pytest.raises(TokenUnavailableError, match="took longer"):
        await provider.get_token()

    assert await ended(await started(tmp_path / "pids"))


@linux
async def test_cancelled_task_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Who waited behind a cancelled task runs the command itself."""
    code = f"import os, sys\nif os.path.exists(sys.argv[1]): print('FAKE-2'); sys.exit()\n{WAITING}"
    provider = CommandTokenProvider(python(code, tmp_path / "pids"))
    first = asyncio.create_task(provider.get_token())
    pids = await started(tmp_path / "pids")
    second = asyncio.create_task(provider.get_token())
    await asyncio.sleep(0)
    first.cancel()

    assert token_of(await second) == "FAKE-2"
    assert first.cancelled()
    assert await ended(pids)


async def test_command_provider_hides_its_token() -> None:
    """Neither the provider nor its attributes show what was printed."""
    provider = CommandTokenProvider(python("print('FA' + 'KE-hidden')"))
    await provider.get_token()

    assert "FAKE" not in f"{provider!r} {vars(provider)}"
