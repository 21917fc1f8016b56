"""The tools that releases are checked with find what they look for."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from tools import audit, packages

INFO = "kraken_fastkey-1.0.dist-info"
CODE = {"kraken_fastkey/__init__.py", "kraken_fastkey/py.typed"}
NOTES = {f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
TRACKED = CODE | {"kraken_fastkey/notes.txt", "tests/test_it.py", "pyproject.toml", "LICENSE", ".ci/run"}


def make_wheel(folder: Path, names: Collection[str], size: int = 10) -> Path:
    """Write a wheel of these files, each of that size."""
    path = folder / "kraken_fastkey-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * size)
    return path


def make_sdist(folder: Path, names: Collection[str]) -> Path:
    """Write a source archive of these files."""
    path = folder / "kraken_fastkey-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(f"kraken_fastkey-1.0/{name}")
            archive.addfile(entry, io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("names", "size", "faults"),
    [
        (CODE | NOTES, 10, []),
        (CODE | NOTES | {f"{INFO}/entry_points.txt"}, 10, []),
        (CODE | NOTES | {"tests/test_it.py"}, 10, ["tests/test_it.py is not expected"]),
        (CODE | NOTES | {"kraken_fastkey/notes.txt"}, 10, ["kraken_fastkey/notes.txt is not expected"]),
        (NOTES | {"kraken_fastkey/__init__.py"}, 10, ["kraken_fastkey/py.typed is missing"]),
        (CODE | NOTES - {f"{INFO}/licenses/LICENSE"}, 10, [f"{INFO}/licenses/LICENSE is missing"]),
        (CODE | NOTES, 600_000, ["takes 1,200,000 bytes when installed, more than 1,000,000"]),
    ],
)
def test_a_wheel_is_looked_into(tmp_path: Path, names: set[str], size: int, faults: list[str]) -> None:
    """It holds the package's files and its notes, no other, and is not too large."""
    wheel = make_wheel(tmp_path, names, size)
    assert [f"{wheel.name}: {fault}" for fault in faults] == packages.faults_of_wheel(wheel, TRACKED)


def test_a_source_archive_is_looked_into(tmp_path: Path) -> None:
    """It holds what is tracked, but for the project's own workshop, and nothing else."""
    whole = (TRACKED - {".ci/run"}) | {"PKG-INFO", ".gitignore"}
    assert [] == packages.faults_of_sdist(make_sdist(tmp_path, whole), TRACKED)
    sdist = make_sdist(tmp_path, (whole - {"tests/test_it.py"}) | {"secret.env"})
    faults = ["secret.env is not expected", "tests/test_it.py is missing"]
    assert [f"{sdist.name}: {fault}" for fault in faults] == packages.faults_of_sdist(sdist, TRACKED)


def test_two_builds_are_compared_byte_for_byte(tmp_path: Path) -> None:
    """One byte, or one file that only one of them has, is told."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "same.whl").write_bytes(b"same")
        (folder / "other.whl").write_bytes(folder.name.encode())
    (second / "alone.whl").touch()
    assert ["alone.whl: two builds differ", "other.whl: two builds differ"] == packages.differences(first, second)


def known(name: str = "requests", version: str = "2.19.1", *faults: str) -> dict[str, Any]:
    """Return what pip-audit's report says of a package."""
    return {"name": name, "version": version, "vulns": [{"id": fault, "fix_versions": ["9"]} for fault in faults]}


CANARY = known("requests", "2.19.1", "PYSEC-2018-28")
UNKNOWN = {"name": "attrs", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages_of_report", "status", "line"),
    [
        ([CANARY, known("attrs", "25.4")], audit.CLEAN, "1 packages, nothing known of them"),
        ([CANARY, known("attrs", "25.4", "CVE-1")], audit.FOUND, "attrs 25.4: CVE-1; fixed in: 9"),
        ([known(), known("attrs", "25.4")], audit.NOT_ASKED, "not audited: the service does not know that"),
        ([{"name": "requests", "skip_reason": "not found"}], audit.NOT_ASKED, "not audited: the service does not know"),
        ([CANARY, UNKNOWN], audit.NOT_ASKED, "not audited: the service does not know attrs"),
        ([], audit.NOT_ASKED, "not audited"),
    ],
)
def test_no_audit_is_no_clean_audit(packages_of_report: list[dict[str, Any]], status: int, line: str) -> None:
    """Nothing found means something only where a known vulnerability is found."""
    told, lines = audit.verdict({"dependencies": packages_of_report})
    assert status == told
    assert lines[0].startswith(line)
