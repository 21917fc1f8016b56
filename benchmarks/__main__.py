"""Measures what the library costs, beside bare aiohttp and others that do the same work.

    python -m benchmarks [--rounds 15] [--calls 300] [--instructions] [--growth 1000000] [--json FILE]

Prints a table, and writes all of it, with each round, to a file.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import ROOT, Subject, count_instructions, run_python, serving
from benchmarks.subjects import SUBJECTS

_BARE: Final = next(iter(SUBJECTS))
_OURS: Final = "kraken-fastkey"
_BUILD: Final = "import kraken_fastkey; kraken_fastkey.FastKeyClient(kraken_fastkey.StaticTokenProvider('t'))"
_NEEDED: Final = "import aiohttp, attrs, cattrs"
_INSTALLED: Final = ("aiohttp", "attrs", "cattrs", "orjson", "aiohttp-retry", "ccxt", "tenacity", "stamina")


def _measure_calls(base_url: str, rounds: int, calls: int) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return the seconds of each round, by way of calling and by subject; the subjects take turns."""
    ways = {"one task": 1, "100 tasks": 100}
    seconds: dict[str, dict[str, dict[str, list[float]]]] = {
        way: {name: {"cpu": [], "clock": []} for name in SUBJECTS} for way in ways
    }
    with contextlib.ExitStack() as stack:
        subjects = {name: Subject(name, base_url) for name in SUBJECTS}
        for subject in subjects.values():
            stack.callback(subject.close)
            subject.measure(calls, 100)
        for number in range(rounds):
            # One way, then the other, so that none is always measured after the same.
            for name in [*subjects][:: 1 if number % 2 else -1]:
                for way, tasks in ways.items():
                    for kind, value in subjects[name].measure(calls, tasks).items():
                        seconds[way][name][kind].append(value)
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return seconds


def _ratios(values: Sequence[float], bare: Sequence[float]) -> tuple[float, float, float]:
    """Return the quartiles of the ratios, round by round: what disturbs a round disturbs both."""
    low, middle, high = statistics.quantiles([value / other for value, other in zip(values, bare, strict=True)], n=4)
    return low, middle, high


def _print_calls(seconds: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    for way, subjects in seconds.items():
        print(f"\n{f'CPU per create_key, {way}':<40}{'median µs':>11}{'x bare':>9}{'quartiles':>15}")
        for name, figures in subjects.items():
            low, middle, high = _ratios(figures["cpu"], subjects[_BARE]["cpu"])
            median = statistics.median(figures["cpu"]) * 1e6
            print(f"{name:<40}{median:>11.0f}{middle:>9.2f}{f'{low:.2f} - {high:.2f}':>15}")
    clock = {name: figures["clock"] for name, figures in seconds["100 tasks"].items()}
    rates = {name: 1 / statistics.median(values) for name, values in clock.items()}
    print(f"\n{'calls in a second, 100 tasks':<40}{'median':>11}{'x bare':>9}")
    for name, rate in rates.items():
        print(f"{name:<40}{rate:>11.0f}{rate / rates[_BARE]:>9.2f}")


def _measure_imports(rounds: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"needed": [], "client": []}
    for _ in range(rounds):
        for name, statement in (("needed", _NEEDED), ("client", _BUILD)):
            figures[name].append(run_python("-m", "benchmarks.importing", statement))
    ratio = _ratios([one["cpu"] for one in figures["client"]], [one["cpu"] for one in figures["needed"]])
    modules = {name: values[0]["modules"] for name, values in figures.items()}
    print(f"\nimport and a client, x {_NEEDED}: {ratio[1]:.2f} ({ratio[0]:.2f} - {ratio[2]:.2f}); modules: {modules}")
    return figures


def _measure_accounts() -> dict[str, Any]:
    figures = {
        "1,000": run_python("-m", "benchmarks.accounts", "1000"),
        "100,000": run_python("-m", "benchmarks.accounts", "100000"),
        "100,000, each used": run_python("-m", "benchmarks.accounts", "100000", "used"),
    }
    print(f"\n{'accounts':<40}{'bytes each':>11}{'s in all':>9}{'µs each':>15}")
    for name, figure in figures.items():
        each = figure["seconds"] / int(name.partition(", each")[0].replace(",", "")) * 1e6
        print(f"{name:<40}{figure['bytes']:>11.0f}{figure['seconds']:>9.2f}{each:>15.1f}")
    return figures


def _measure_growth(base_url: str, calls: int) -> dict[str, Any]:
    figure: dict[str, Any] = run_python("-m", "benchmarks.growth", base_url, str(calls))
    grown = (figure["at_end"] - figure["after_first"]) / 1024
    most = (figure["most"] - figure["after_first"]) / 1024
    print(f"\nmemory after {calls:,} calls, beside that after the first 10,000: {grown:+.0f} KiB ({most:+.0f} at most)")
    return figure


def _measure_size() -> int:
    files = [file for file in (ROOT / "kraken_fastkey").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    size = sum(file.stat().st_size for file in files)
    print(f"\ninstalled beside aiohttp, attrs and cattrs: {size / 1024:.0f} KiB, no further package")
    return size


def _conditions() -> dict[str, Any]:
    packages = {name: importlib.metadata.version(name) for name in _INSTALLED}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
        "packages": packages,
    }


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each subject is measured")
    parser.add_argument("--calls", type=int, default=300, help="how many calls a round has")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too, which takes valgrind")
    parser.add_argument("--growth", type=int, default=100_000, help="calls to see whether memory grows")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="the file to write")
    options = parser.parse_args()
    results: dict[str, Any] = {"conditions": _conditions()}
    print(json.dumps(results["conditions"]))
    with serving() as base_url:
        results["calls"] = _measure_calls(base_url, options.rounds, options.calls)
        _print_calls(results["calls"])
        if options.instructions:
            counts = {name: count_instructions(name, base_url, 100) for name in (_BARE, _OURS)}
            results["instructions"] = counts
            print(f"\ninstructions per call, 100 tasks: {counts}; x bare: {counts[_OURS] / counts[_BARE]:.2f}")
        results["growth"] = _measure_growth(base_url, options.growth)
    results["imports"] = _measure_imports(options.rounds)
    results["accounts"] = _measure_accounts()
    results["size"] = _measure_size()
    options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
