"""Builds the packages of the last commit, twice and in unlike places, and looks into what came out.

`python -m tools.packages dist` ends with status 1 and a list of faults unless both builds gave the same bytes and hold
what they should. The hashes that it prints are those that a rebuild of the same commit gives, with the same hatchling.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

PACKAGE = "kraken_fastkey"
MAX_INSTALLED_BYTES = 1_000_000
"""What the package's own files may take on a disk. Not counted: what pip keeps about it, and Python's bytecode."""

# Nothing of where, when and by whom it is built may show.
_HERE = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "1"}
_THERE = {"LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "2"}


def differences(first: Path, second: Path) -> list[str]:
    """Return what differs between two folders of packages, each fault in one line."""
    hashes = [{path.name: sha256(path) for path in folder.iterdir()} for folder in (first, second)]
    names = sorted(hashes[0].keys() | hashes[1].keys())
    return [f"{name}: two builds differ" for name in names if hashes[0].get(name) != hashes[1].get(name)]


def sha256(path: Path) -> str:
    """Return a file's hash, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def faults_of_wheel(wheel: Path, tracked: set[str]) -> list[str]:
    """Return what is wrong with a wheel's contents.

    Args:
        wheel: Its path.
        tracked: The paths of the files in the repository, relative to its root.
    """
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    notes = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    code = {name for name in tracked if name.startswith(f"{PACKAGE}/") and name.endswith((".py", "/py.typed"))}
    faults = [f"{wheel.name}: {name} is not expected" for name in sorted(sizes.keys() - code - notes)]
    needed = code | notes - {f"{info}/entry_points.txt"} | {f"{PACKAGE}/py.typed"}
    faults += [f"{wheel.name}: {name} is missing" for name in sorted(needed - sizes.keys())]
    size = sum(size for name, size in sizes.items() if name.startswith(f"{PACKAGE}/"))
    if size > MAX_INSTALLED_BYTES:
        faults.append(f"{wheel.name}: takes {size:,} bytes when installed, more than {MAX_INSTALLED_BYTES:,}")
    print(f"{wheel.name}: {size:,} bytes when installed, {sum(sizes.values()):,} with what pip keeps about it")
    return faults


def faults_of_sdist(sdist: Path, tracked: set[str]) -> list[str]:
    """Return what is wrong with a source archive's contents: it holds what is tracked, tests and all, and no more."""
    with tarfile.open(sdist) as archive:
        names = {str(PurePosixPath(*PurePosixPath(entry.name).parts[1:])) for entry in archive if entry.isfile()}
    tracked = {name for name in tracked if not name.startswith(".")} | {".gitignore", "PKG-INFO"}
    faults = [f"{sdist.name}: {name} is not expected" for name in sorted(names - tracked)]
    return faults + [f"{sdist.name}: {name} is missing" for name in sorted(tracked - names)]


def main(outdir: Path) -> int:
    """Build into a folder, which is to be empty; print what came out, and what is wrong with it."""
    if _git("status", "--porcelain"):
        print("note: what is not committed is not built")
    tracked = set(_git("ls-tree", "-r", "--name-only", "-z", "HEAD").strip("\0").split("\0"))
    outdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # Once as users of the source archive build the wheel, once from the checkout.
        _build(Path(folder) / "here", outdir.resolve(), [], umask=0o022, environment=_HERE)
        again = Path(folder) / "again"
        _build(Path(folder) / "over" / "there", again, ["--sdist", "--wheel"], umask=0o077, environment=_THERE)
        faults = differences(outdir, again)
    for package in sorted(outdir.iterdir()):
        print(f"{sha256(package)}  {package.name}  {package.stat().st_size:,} bytes")
        faults += (faults_of_wheel if package.suffix == ".whl" else faults_of_sdist)(package, tracked)
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


def _build(checkout: Path, outdir: Path, options: list[str], *, umask: int, environment: dict[str, str]) -> None:
    """Build the last commit from a clone of its own, whose files have another age and mode than those of the other."""
    commit_time = _git("show", "--no-patch", "--format=%ct", "HEAD")
    subprocess.run(["git", "clone", "--quiet", ".", str(checkout)], check=True, umask=umask)
    for path in checkout.rglob("*"):
        if ".git" not in path.parts:
            os.utime(path, (umask, 1_000_000_000 + umask))
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(outdir), str(checkout)],
        check=True,
        umask=umask,
        env=os.environ | environment | {"SOURCE_DATE_EPOCH": commit_time},
        stdout=subprocess.DEVNULL,
    )


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
