"""Fuzzing led by coverage: atheris looks for answers that reach what none has reached, and holds them to the same.

`python tests/fuzz_atheris.py -max_total_time=60`: the options are libFuzzer's. It begins with the seeded fuzzer's
answers, and needs `pip install atheris`, which has wheels for Linux and CPython 3.11 to 3.13.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

SEEDS: Final = 500


def _load_instrumented() -> tuple[Any, Any]:
    """Return atheris and the kit, with the library's code, and only that, counted branch by branch."""
    atheris: Any = importlib.import_module("atheris")  # has no type hints, and is not for every Python
    with atheris.instrument_imports(include=["kraken_fastkey"]):
        return atheris, importlib.import_module("fuzzing")


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough, or something does not hold."""
    try:
        atheris, kit = _load_instrumented()
    except ModuleNotFoundError as error:
        if error.name != "atheris":
            raise
        print("skipped: atheris is not installed, and has no wheel for every Python")
        return
    wire = importlib.import_module("kraken_fastkey._wire")
    operations = kit.OPERATIONS
    headers = [response.headers for _, response in kit.answers_of("headers", 64)]

    def try_one(data: bytes) -> None:
        """Read the first four bytes as operation, status, headers and completeness, and the rest as the body."""
        if len(data) < 4:
            return
        status = kit.STATUSES[data[1]] if data[1] < len(kit.STATUSES) else 200
        completeness = "cut_off" if data[3] == 0 else "too_large" if data[3] == 1 else "complete"
        response = wire.WireResponse(status, headers[data[2] % len(headers)], data[4:], completeness)
        with kit.quiet():
            kit.try_answer(operations[data[0] % len(operations)], response)

    with tempfile.TemporaryDirectory() as corpus:
        for number, (operation, response) in enumerate(kit.answers_of("corpus", SEEDS)):
            place = kit.STATUSES.index(response.status) if response.status in kit.STATUSES else 255
            head = bytes([operations.index(operation), place, number % 64, 2])
            (Path(corpus) / str(number)).write_bytes(head + response.body)
        atheris.Setup([sys.argv[0], "-max_len=4096", *sys.argv[1:], corpus], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
