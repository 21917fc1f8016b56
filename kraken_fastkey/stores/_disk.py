"""Files that nobody else may read or write: checked when they are opened, and replaced whole or not at all.

All of it blocks, so it belongs in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from kraken_fastkey._errors import StoreError

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

MAX_BYTES: Final = 1024 * 1024

# What Windows does not have is 0 here. O_NONBLOCK: opening a named pipe must not wait for its writer.
OPEN_FLAGS: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_HAS_OWNERS: Final = sys.platform != "win32"
_SYMLINK: Final = frozenset({errno.ELOOP, errno.EMLINK})
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class Folder:
    """A folder that was checked, and is held open, so that nobody can put another in its place."""

    path: Path
    fd: int | None

    def entry(self, name: str) -> str:
        return name if self.fd is not None else str(self.path / name)

    def read(self, path: Path) -> memoryview | None:
        """Return what one of its files holds, as `read_file` does."""
        try:
            fd = os.open(self.entry(path.name), os.O_RDONLY | OPEN_FLAGS, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        try:
            check_file(fd, path)
            # A view: its repr does not show the content.
            return _read_all(fd, path)
        finally:
            os.close(fd)

    def replace(self, path: Path, content: memoryview) -> None:
        """Put a new file in the place of one of its files, as `replace_file` does."""
        if len(content) > MAX_BYTES:
            raise StoreError(f"{path} cannot be written: {len(content)} bytes are more than {MAX_BYTES}")
        _remove_leftovers(self, path.name)
        temporary = self.entry(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o600, dir_fd=self.fd)
            try:
                _write_all(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, self.entry(path.name), src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self.fd)
            raise
        sync_folder(self.fd)


def read_file(path: Path) -> memoryview | None:
    """Return what a file holds, up to `MAX_BYTES`, or `None` if there is none.

    Raises:
        StoreError: It cannot be read, is too large or no plain file, or others may read or write it or its folder.
    """
    with told(path, "read"):
        try:
            with open_folder(path.parent) as folder:
                return folder.read(path)
        except FileNotFoundError:
            return None


def replace_file(path: Path, content: memoryview) -> None:
    """Put a new file in the place of an old one, or of none: whole, or not at all.

    It is on the disk, if the disk keeps its word, when this returns. Only one at a time may do this.

    Raises:
        StoreError: It cannot be written. The old file or the new one is there.
    """
    make_folder(path.parent)
    with told(path, "written"), open_folder(path.parent) as folder:
        folder.replace(path, content)


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, and those above it that are missing likewise.

    Raises:
        StoreError: It cannot be made.
    """
    with told(path, "made"):
        missing = []
        while not path.exists():
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            # Another process may be faster.
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o700)
            if _HAS_OWNERS:
                above = os.open(folder.parent, os.O_RDONLY)
                try:
                    sync_folder(above)
                finally:
                    os.close(above)


class FileLock:
    """A lock on a file, which the kernel frees when the process ends. The file is never removed.

    Args:
        path: The file, which is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Try once, and return whether it was had. It excludes other objects of this process as well.

        Raises:
            StoreError: The file cannot be opened, or others may read or write it or its folder.
        """
        make_folder(self._path.parent)
        with told(self._path, "locked"), open_folder(self._path.parent) as folder:
            entry = folder.entry(self._path.name)
            fd = os.open(entry, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o600, dir_fd=folder.fd)
            got = False
            try:
                check_file(fd, self._path)
                # Somebody may have removed the file, and others lock a new one.
                got = lock(fd) and _is_there(fd, entry, folder)
            finally:
                if got:
                    self._fd = fd
                else:
                    os.close(fd)
        return got

    def release(self) -> None:
        """Free the lock, if it was had. It does not block."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # Whatever these say, the lock is free. Not by closing alone: a forked child may hold the file open.
            with contextlib.suppress(OSError):
                unlock(fd)
            with contextlib.suppress(OSError):
                os.close(fd)


@contextlib.contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Tell the operating system's errors as the store's."""
    try:
        yield
    except OSError as error:
        reason = (
            "a symbolic link is in its place: name the file that it leads to"
            if error.errno in _SYMLINK
            else f"{error.strerror or type(error).__name__}: see to the disk and the permissions"
        )
        raise StoreError(f"{path} cannot be {what}: {reason}") from None


def _check_folder(found: os.stat_result, path: Path) -> None:
    # Not chmod alone: it may be a folder that others need, such as /tmp.
    _check_private(
        found, path, f"name a folder below it, which is then made, or chmod 700 {path} if nobody else uses it"
    )


@contextlib.contextmanager
def open_folder(path: Path, check: Callable[[os.stat_result, Path], None] = _check_folder) -> Iterator[Folder]:
    """Have a folder open and checked.

    Raises:
        FileNotFoundError: There is none.
        StoreError: The check has failed.
    """
    if not _HAS_OWNERS:
        yield Folder(path, None)
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        check(os.fstat(fd), path)
        yield Folder(path, fd)
    finally:
        os.close(fd)


def check_file(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is no plain file: name another")
    _check_private(found, path, f"chmod 600 {path}")


def check_owner(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid():
        raise StoreError(
            f"{path} belongs to another user (id {found.st_uid}, this process has {os.geteuid()}): "
            "name another place, or chown it"
        )


def _check_private(found: os.stat_result, path: Path, advice: str) -> None:
    if not _HAS_OWNERS:
        return
    check_owner(found, path)
    if found.st_mode & _OTHERS:
        raise StoreError(f"{path} can be read or written by others (mode {stat.S_IMODE(found.st_mode):03o}): {advice}")


def _is_there(fd: int, entry: str, folder: Folder) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(entry, dir_fd=folder.fd))
    except FileNotFoundError:
        return False


def _read_all(fd: int, path: Path) -> memoryview:
    content = io.BytesIO()
    while chunk := memoryview(os.read(fd, MAX_BYTES + 1)):
        content.write(chunk)
        if content.tell() > MAX_BYTES:
            raise StoreError(f"{path} is larger than {MAX_BYTES} bytes: no record is; name another")
    return memoryview(content.getvalue())


def _write_all(fd: int, content: memoryview) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _remove_leftovers(folder: Folder, name: str) -> None:
    """Remove what writers that were killed have left: only one writes at a time."""
    for entry in os.listdir(folder.path if folder.fd is None else folder.fd):  # noqa: PTH208  # a descriptor
        if entry.startswith(f".{name}.") and entry.endswith(".tmp"):
            with contextlib.suppress(OSError):
                os.unlink(folder.entry(entry), dir_fd=folder.fd)


def sync_folder(fd: int | None) -> None:
    if fd is not None:
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems cannot do this to a folder
                raise


if sys.platform == "win32":  # pragma: no cover

    def lock(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EDEADLK}:
                return False
            raise
        return True

    def unlock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
