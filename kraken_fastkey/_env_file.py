"""A key as environment variables, and in a `.env` file that nobody else may read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from kraken_fastkey._adapters import following
from kraken_fastkey._errors import InvalidRequestError, StoreError
from kraken_fastkey._lease import KeyLease
from kraken_fastkey._models import FastApiKey
from kraken_fastkey.stores._disk import check_owner, make_folder, open_folder, told
from kraken_fastkey.stores._locks import in_thread

_PREFIX: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# No shell, no python-dotenv and no Docker Compose reads more into these; `docker --env-file` knows no quotes.
_PLAIN: Final = re.compile(r"[A-Za-z0-9+/=_.-]+", re.ASCII)
_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def environment_of(key: FastApiKey, prefix: str = "KRAKEN_") -> dict[str, str]:
    """Return a key as environment variables: `KRAKEN_API_KEY` and `KRAKEN_API_SECRET`.

    The secret is in it in clear: hand it to `subprocess` or the like, and keep it nowhere.

    Args:
        key: The key.
        prefix: What the names begin with: a letter or `_`, then letters, digits and `_`.

    Raises:
        InvalidRequestError: An argument is wrong.
    """
    _check_key(key)
    check_prefix(prefix)
    return {f"{prefix}API_KEY": key.api_key, f"{prefix}API_SECRET": key.secret.get_secret_value()}


def write_env_file(key: FastApiKey, path: str | os.PathLike[str], *, prefix: str = "KRAKEN_") -> None:
    """Write a key into a `.env` file, as the variables of `environment_of`.

    Lines of these variables are replaced, with their `export` if they have one; all others stay. What is written
    needs no quotes, and has none, so that python-dotenv, shells, Docker Compose and `docker run --env-file` all read
    the same. The file has mode 600, is replaced whole or not at all, and is on the disk when this returns. One
    program at a time may write it. It blocks.

    A file that others can read or write, that belongs to another user, or a symbolic link in its place, is refused;
    so is a folder that others can write to, or that belongs to another user. A folder that is missing is made, with
    mode 700. On Windows none of this is checked.

    Args:
        key: The key.
        path: The file.
        prefix: What the variables' names begin with, as for `environment_of`.

    Raises:
        InvalidRequestError: An argument is wrong.
        StoreError: The file cannot be written. The old one, or the new one, is there.
    """
    _check_key(key)
    check_prefix(prefix)
    _write(key, _check_path(path), prefix)


def write_secret_file(key: FastApiKey, path: str | os.PathLike[str]) -> None:
    """Write a key's secret, and nothing else, into a file, with the care of `write_env_file`.

    Args:
        key: The key.
        path: The file. What it held before is gone.

    Raises:
        InvalidRequestError: An argument is wrong.
        StoreError: The file cannot be written. The old one, or the new one, is there.
    """
    _check_key(key)
    file = _check_path(path)
    make_folder(file.parent)
    with told(file, "written"), open_folder(file.parent, _check_folder) as folder:
        folder.read(file)  # refuses a file that is another user's, or that others can read
        folder.replace(file, memoryview(key.secret.get_secret_value().encode()))


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse a place that `write_env_file` or `write_secret_file` would refuse, before there is a key to write.

    A folder that is missing is none: they make it.

    Raises:
        InvalidRequestError: It names no file.
        StoreError: The file, or its folder, would be refused.
    """
    file = _check_path(path)
    if file.parent.exists():
        with told(file, "written"), open_folder(file.parent, _check_folder) as folder:
            folder.read(file)


@asynccontextmanager
async def attach_env_file(
    lease: KeyLease, path: str | os.PathLike[str], *, prefix: str = "KRAKEN_"
) -> AsyncIterator[Path]:
    """Keep a lease's key in a `.env` file, as long as the `async with` is entered.

    It is written as `write_env_file` does, in a thread, at once and with each new key. If that fails later, it is
    logged and tried again, up to once a minute. A program that has read the file before does not notice: let it read
    the file again within the lease's `grace`. On exit the file stays as it is; the key in it dies with the lease.

    Args:
        lease: The lease, entered.
        path: The file. A relative path starts at what is now the working directory.
        prefix: What the variables' names begin with, as for `environment_of`.

    Returns:
        The file's path.

    Raises:
        InvalidRequestError: On entry: an argument is wrong.
        LeaseExpiredError: On entry: the lease has no good key.
        StoreError: On entry: the file cannot be written.
    """
    check_prefix(prefix)
    file = _check_path(path)

    async def put(key: FastApiKey) -> None:
        await in_thread(lambda: _write(key, file, prefix))

    async with following(lease, put):
        yield file


def _check_key(key: object) -> None:
    if not isinstance(key, FastApiKey):
        raise InvalidRequestError({"key": f"must be a FastApiKey, not {type(key).__name__}"})


def check_prefix(prefix: object) -> None:
    """Check what was passed for the beginning of variables' names.

    Raises:
        InvalidRequestError: No variable's name could begin so.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise InvalidRequestError({"prefix": "must be a letter or '_', then letters, digits and '_'"})


def _check_path(path: str | os.PathLike[str]) -> Path:
    try:
        file = Path(path)
    except TypeError:
        raise InvalidRequestError({"path": f"must be a path, not {type(path).__name__}"}) from None
    if not file.name or "\0" in str(file):
        raise InvalidRequestError({"path": "must name a file"})
    return file.absolute()


def _write(key: FastApiKey, path: Path, prefix: str) -> None:
    if not all(_PLAIN.fullmatch(value) for value in environment_of(key, prefix).values()):
        raise StoreError(f"{path} cannot be written: the key has a character that not all programs read alike")
    make_folder(path.parent)
    with told(path, "written"), open_folder(path.parent, _check_folder) as folder:
        folder.replace(path, _changed(folder.read(path) or memoryview(b""), key, prefix))


def _changed(content: memoryview, key: FastApiKey, prefix: str) -> memoryview:
    """Return a file's content with the key in it. It raises nothing, for its variables hold secrets."""
    values = environment_of(key, prefix)
    names = "|".join(values)
    assignment = re.compile(rf"[ \t]*(?P<export>export[ \t]+)?(?P<name>{names})[ \t]*=".encode("ascii"))
    lines: list[bytes] = []
    for line in bytes(content).splitlines(keepends=True):
        found = assignment.match(line)
        if found is None:
            lines.append(line if line.endswith((b"\n", b"\r")) else line + b"\n")
            continue
        # The last one of a name counts, so there must be but one.
        value = values.pop(name := found["name"].decode("ascii"), None)
        if value is not None:
            lines.append((found["export"] or b"") + f"{name}={value}\n".encode("ascii"))
    lines += [f"{name}={value}\n".encode("ascii") for name, value in values.items()]
    return memoryview(b"".join(lines))  # a view: its repr does not show the content


def _check_folder(found: os.stat_result, path: Path) -> None:
    """Refuse a folder in which somebody else can put another file in the place of ours.

    Others may look into it, unlike a store's: a project's folder is that of its `.env`.
    """
    check_owner(found, path)
    if found.st_mode & _MAY_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        raise StoreError(f"others can put files into {path} (mode {mode:03o}): name a folder below it, or chmod 755")
