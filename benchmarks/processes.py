"""The processes of a benchmark: the server, and one for each subject."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["Subject", "count_instructions", "make_certificate", "run_python", "serving"]

ROOT: Final = Path(__file__).parent.parent
_COLLECTED: Final = re.compile(r"Collected : (\d+)")
_FEW: Final = 100
_MANY: Final = 500


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[str]:
    """Run the server that always answers the same; give its address.

    Args:
        certificate: A file with a certificate and its key; with it, the server speaks TLS.
    """
    scheme, files = ("https", [str(certificate)]) if certificate else ("http", [])
    with _python("benchmarks/server.py", *files) as process:
        assert process.stdin is not None  # noqa: S101  # it is a pipe
        assert process.stdout is not None  # noqa: S101
        yield f"{scheme}://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def make_certificate(folder: Path) -> Path:
    """Make a certificate of loopback's, signed by itself, by openssl; return the file that has it and its key."""
    path = folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path


class Subject:
    """A subject in a process of its own, which waits while another is measured.

    Args:
        name: Its name in `SUBJECTS`.
        base_url: The server's address.
        certificate: The server's, where it speaks TLS; the process trusts no other.
    """

    def __init__(self, name: str, base_url: str, certificate: Path | None = None) -> None:
        trusted = {"SSL_CERT_FILE": str(certificate)} if certificate else {}
        self._process = _python("-m", "benchmarks.subject", name, base_url, **trusted)

    def measure(self, calls: int, tasks: int) -> dict[str, float]:
        """Return the seconds of processor time, and of the clock, that one of so many calls takes.

        Raises:
            RuntimeError: It ended.
        """
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(f"{calls} {tasks}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the subject ended with status {self._process.wait()}")
        seconds: dict[str, float] = json.loads(line)
        return seconds

    def close(self) -> None:
        """End it."""
        with self._process as process:
            process.communicate()


def count_instructions(name: str, base_url: str, tasks: int) -> float:
    """Return how many instructions of its own a subject takes for a call, by valgrind; not those of the kernel."""
    counts = []
    for calls in (_FEW, _MANY):
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
                *(sys.executable, "-m", "benchmarks.subject", name, base_url),
            ],
            # The first line warms it up.
            input=f"{_FEW} {tasks}\n{calls} {tasks}\n",
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=_environment(),
        )
        counts.append(int(_COLLECTED.findall(done.stderr)[-1]))
    return (counts[1] - counts[0]) / (_MANY - _FEW)


def run_python(*arguments: str) -> Any:
    """Run Python, and return what it prints, as JSON."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT, env=_environment()
    )
    return json.loads(done.stdout)


def _python(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=_environment() | variables,
    )


def _environment() -> dict[str, str]:
    # The same order of dicts and sets in all; how memory is allocated may be set, since it decides what a read costs.
    malloc = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    return {"PYTHONHASHSEED": "0", "PATH": "/usr/local/bin:/usr/bin:/bin", **malloc}
