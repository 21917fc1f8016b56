"""A key as environment variables, and in a `.env` file: who reads it how, and who may not."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import assert_clean, missing

from kraken_fastkey import (
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyLease,
    LeaseExpiredError,
    SecretStr,
    StaticTokenProvider,
    StoreError,
)
from kraken_fastkey._env_file import attach_env_file, environment_of, write_env_file, write_secret_file
from kraken_fastkey.sandbox import KrakenSandbox

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
KEY = FastApiKey(api_key_name="grid-bot", api_key="8wA+GQ/3u6Vm2nTk", secret=SecretStr(SECRET))
EXPECTED = {"KRAKEN_API_KEY": "8wA+GQ/3u6Vm2nTk", "KRAKEN_API_SECRET": SECRET}
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes and owners")


def read_as_docker(path: Path) -> dict[str, str]:
    """Read as `docker run --env-file` does: no quotes, no export, all after the first `=`."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return dict(line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))


def read_as_shell(path: Path) -> dict[str, str]:
    """Read as a shell does that sources it."""
    shell = shutil.which("sh")
    if shell is None:
        missing("sh")
    names = "KRAKEN_API_KEY KRAKEN_API_SECRET"
    script = f'. "$0"; for name in {names}; do eval "printf \'%s=%s\\n\' $name \\"\\$$name\\""; done'
    done = subprocess.run([shell, "-eu", "-c", script, path], capture_output=True, text=True, check=True, timeout=10)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def read_as_dotenv(path: Path) -> dict[str, str | None]:
    """Read as python-dotenv does."""
    try:
        from dotenv import dotenv_values  # noqa: PLC0415  # it may be missing on a user's machine
    except ModuleNotFoundError:
        missing("python-dotenv")
    return dict(dotenv_values(path))


def test_the_variables_are_those_that_bots_read() -> None:
    """By the most common names, or with another beginning."""
    assert EXPECTED == environment_of(KEY)
    assert {"GRID_API_KEY", "GRID_API_SECRET"} == set(environment_of(KEY, "GRID_"))


@pytest.mark.parametrize("read", [read_as_docker, read_as_shell, read_as_dotenv], ids=lambda read: read.__name__)
def test_all_readers_read_the_same(tmp_path: Path, read: Any) -> None:
    """A shell, python-dotenv and Docker, which disagree on quotes."""
    path = tmp_path / ".env"
    write_env_file(KEY, path)
    values: Mapping[str, str] = read(path)
    assert EXPECTED == values


@POSIX
def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """The file has mode 600 whatever the umask, and folders that are made have 700."""
    before = os.umask(0)
    try:
        write_env_file(KEY, tmp_path / "bot" / ".env")
    finally:
        os.umask(before)
    assert 0o600 == (tmp_path / "bot" / ".env").stat().st_mode & 0o777
    assert 0o700 == (tmp_path / "bot").stat().st_mode & 0o777
    assert [".env"] == [entry.name for entry in (tmp_path / "bot").iterdir()]


def test_other_lines_stay(tmp_path: Path) -> None:
    """To the byte, in their order; the key's own are replaced where the first of each is, and others are dropped."""
    path = tmp_path / ".env"
    path.write_bytes(
        b"# the bot\r\n"
        b"NAME='grid bot'\n"
        b"export KRAKEN_API_KEY=old\n"
        b"KRAKEN_API_KEY_2=other\n"
        b"#KRAKEN_API_SECRET=remark\n"
        b"KRAKEN_API_KEY='older'\n"
        b'  KRAKEN_API_SECRET = "old"\n'
        b"GREETING=\xe9t\xe9"
    )
    path.chmod(0o600)
    write_env_file(KEY, path)
    expected = (
        b"# the bot\r\n"
        b"NAME='grid bot'\n"
        b"export KRAKEN_API_KEY=8wA+GQ/3u6Vm2nTk\n"
        b"KRAKEN_API_KEY_2=other\n"
        b"#KRAKEN_API_SECRET=remark\n"
        b"KRAKEN_API_SECRET=%s\n"
        b"GREETING=\xe9t\xe9\n"
    ) % SECRET.encode()
    assert expected == path.read_bytes()
    write_env_file(KEY, path)
    assert expected == path.read_bytes()
    write_env_file(KEY, path, prefix="GRID_")
    assert expected + b"GRID_API_KEY=8wA+GQ/3u6Vm2nTk\nGRID_API_SECRET=%s\n" % SECRET.encode() == path.read_bytes()


def _open_to_others(path: Path) -> None:
    path.touch(0o644)
    path.chmod(0o644)


def _symlink(path: Path) -> None:
    path.with_name("real").touch(0o600)
    path.symlink_to("real")


def _in_open_folder(path: Path) -> None:
    path.parent.chmod(0o777)


@POSIX
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_open_to_others, r"can be read or written by others \(mode 644\): chmod 600"),
        (_symlink, "cannot be written: a symbolic link is in its place"),
        (Path.mkdir, "is no plain file|cannot be written: Is a directory"),
        (_in_open_folder, r"others can put files into .* \(mode 777\): name a folder below it, or chmod 755"),
        (
            lambda path: path.write_bytes(b"#" * 2**20) and path.chmod(0o600),
            "cannot be written: [0-9]+ bytes are more than",
        ),
        (lambda path: path.write_bytes(b"#" * 2**21) and path.chmod(0o600), "is larger than 1048576 bytes"),
    ],
)
def test_a_place_that_is_not_safe_is_refused(tmp_path: Path, prepare: Any, reason: str) -> None:
    """The error says what to do, and shows no secret; nothing is changed, nothing is left behind."""
    path = tmp_path / "bot" / ".env"
    path.parent.mkdir(0o755)
    prepare(path)
    before = sorted((entry.name, entry.is_symlink(), entry.stat().st_size) for entry in path.parent.iterdir())
    with pytest.raises(StoreError, match=reason) as caught:
        write_env_file(KEY, path)
    assert_clean(caught.value, SECRET)
    assert before == sorted((entry.name, entry.is_symlink(), entry.stat().st_size) for entry in path.parent.iterdir())


@POSIX
def test_a_stranger_s_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns it could put another file in the place of ours."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StoreError, match="belongs to another user"):
        write_env_file(KEY, tmp_path / ".env")


def test_without_owners_it_works_by_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a folder cannot be held open."""
    monkeypatch.setattr("kraken_fastkey.stores._disk._HAS_OWNERS", False)
    for _ in range(2):
        write_env_file(KEY, tmp_path / ".env")
    assert EXPECTED == read_as_docker(tmp_path / ".env")


@POSIX
def test_a_secret_alone_is_written_with_the_same_care(tmp_path: Path) -> None:
    """The file has the secret and nothing else, is its owner's alone, and one that others can read is refused."""
    path = tmp_path / "run" / "secret"
    write_secret_file(KEY, path)
    write_secret_file(KEY, path)
    assert SECRET == path.read_text(encoding="utf-8")
    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)
    assert [path] == list(path.parent.iterdir())
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600") as caught:
        write_secret_file(KEY, path)
    assert_clean(caught.value, SECRET)


def test_a_disk_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and alone; what a killed writer has left is removed at the next write."""
    path = tmp_path / ".env"
    write_env_file(KEY, path)
    before = path.read_bytes()

    def fail(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            write_env_file(attrs.evolve(KEY, api_key="another"), path)
    assert_clean(caught.value, SECRET)
    assert before == path.read_bytes()
    (tmp_path / "..env.0123456789abcdef.tmp").touch()
    write_env_file(KEY, path)
    assert [".env"] == [entry.name for entry in tmp_path.iterdir()]


@pytest.mark.parametrize("value", ["", "a b", "a\nPATH=/tmp", "a'b", 'a"b', "a$b", "a#b", "a\\b", "ä"])
def test_a_value_that_readers_disagree_on_is_not_written(tmp_path: Path, value: str) -> None:
    """Kraken's are base64; whatever else comes must not become a line of its own."""
    key = attrs.evolve(KEY, secret=SecretStr(SECRET + value if value else ""))
    with pytest.raises(StoreError, match="a character that not all programs read alike") as caught:
        write_env_file(key, tmp_path / ".env")
    assert_clean(caught.value, SECRET)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((KEY, ".env", "1_"), "prefix: must be a letter or '_'"),
        ((KEY, ".env", "A B"), "prefix"),
        ((KEY, ".env", ""), "prefix"),
        ((KEY, ".env", 5), "prefix"),
        ((KEY, "", "A_"), "path: must name a file"),
        ((KEY, "/", "A_"), "path: must name a file"),
        ((KEY, "a\0b", "A_"), "path: must name a file"),
        ((KEY, 5, "A_"), "path: must be a path, not int"),
        (("key", ".env", "A_"), "key: must be a FastApiKey, not str"),
    ],
)
def test_wrong_arguments_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, Any, Any], fault: str
) -> None:
    """Each by its name, with what it must be."""
    monkeypatch.chdir(tmp_path)
    key, path, prefix = arguments
    with pytest.raises(InvalidRequestError, match=fault):
        write_env_file(key, path, prefix=prefix)
    assert [] == list(tmp_path.iterdir())


@pytest.fixture(name="real_client")
async def _real_client(sandbox: KrakenSandbox) -> AsyncIterator[FastKeyClient]:
    """Return a client in real time, as the thread is that writes."""
    async with FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url) as client:
        yield client


def _has(path: Path, key: FastApiKey) -> bool:
    return environment_of(key) == read_as_docker(path)


async def test_a_file_follows_a_lease(real_client: FastKeyClient, tmp_path: Path) -> None:
    """It has the key from the start and each new one; in the end it is left as it is."""
    path = tmp_path / ".env"
    async with KeyLease(real_client, CreateKeyRequest(), check_every=None) as lease:
        async with attach_env_file(lease, path) as attached:
            assert path == attached
            assert _has(path, lease.key)
            for _ in range(3):
                await lease.renew()
                while not _has(path, lease.key):
                    await _a_moment()
        last = lease.key
    assert _has(path, last)


async def _a_moment() -> None:
    # The file is written in a thread, which lives in real time.
    await asyncio.sleep(0.001)


@POSIX
async def test_a_file_that_cannot_be_written_is_tried_again(
    real_client: FastKeyClient, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On entry the error comes through; later it is logged, without a secret, and the file follows when it can."""
    monkeypatch.setattr("kraken_fastkey._adapters._BACKOFF", (0.001, 0.01))
    path = tmp_path / ".env"
    with pytest.raises(LeaseExpiredError):
        async with attach_env_file(KeyLease(real_client, CreateKeyRequest()), path):
            raise AssertionError
    async with KeyLease(real_client, CreateKeyRequest(), check_every=None) as lease:
        path.touch(0o644)
        path.chmod(0o644)
        with pytest.raises(FastKeyError, match="chmod 600"):
            async with attach_env_file(lease, path):
                raise AssertionError
        path.chmod(0o600)
        with caplog.at_level(logging.WARNING):
            async with attach_env_file(lease, path):
                path.chmod(0o644)
                await lease.renew()
                while "could not be put in place: StoreError" not in caplog.text:
                    await _a_moment()
                assert not _has(path, lease.key)
                path.chmod(0o600)
                while not _has(path, lease.key):
                    await _a_moment()
        assert "chmod 600" in caplog.text
        assert lease.key.secret.get_secret_value() not in caplog.text
