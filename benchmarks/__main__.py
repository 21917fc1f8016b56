"""Measures what the library costs, beside bare aiohttp and others that do the same work.

    python -m benchmarks [--rounds 15] [--calls 300] [--instructions] [--growth 1000000] [--json FILE]

Prints tables, and whether each goal is reached; writes all of it, with each round, to a file.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from benchmarks.goals import BARE, GROWTH_CALLS, OURS, Verdict, judge, quartiles, ratios
from benchmarks.processes import ROOT, Subject, count_instructions, make_certificate, run_python, serving
from benchmarks.subjects import SUBJECTS

_WAYS: Final = {"one task": 1, "100 tasks": 100}
_OVER_TLS: Final = (BARE, OURS, f"{OURS}, reads of 256 KiB")
_BUILD: Final = "import kraken_fastkey; kraken_fastkey.FastKeyClient(kraken_fastkey.StaticTokenProvider('t'))"
_NEEDED: Final = ("aiohttp", "attrs", "cattrs")
_OTHERS: Final = (
    *("aiohttp-retry", "authlib", "azure-core", "ccxt", "httpx", "orjson", "python-kraken-sdk"),
    *("stamina", "tenacity"),
)
_ACCOUNT_ROUNDS: Final = 3

# By way of calling, by subject, by kind of time: the seconds of a call in each round.
# So many times as many calls with 100 tasks: each has some, and the garbage collector's full collections count.
_MORE: Final = 10
_Seconds = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


def _measure_calls(
    base_url: str, names: Sequence[str], rounds: int, calls: int, certificate: Path | None = None
) -> _Seconds:
    """Return the seconds of a call in each round; the subjects take turns."""
    seconds: dict[str, dict[str, dict[str, list[float]]]] = {
        way: {name: {"cpu": [], "clock": []} for name in names} for way in _WAYS
    }
    with contextlib.ExitStack() as stack:
        subjects = {name: Subject(name, base_url, certificate) for name in names}
        for subject in subjects.values():
            stack.callback(subject.close)
        for subject in subjects.values():
            subject.measure(calls, 100)
        for number in range(rounds):
            # One way, then the other, so that none is always measured after the same.
            for name in [*subjects][:: 1 if number % 2 else -1]:
                for way, tasks in _WAYS.items():
                    more = _MORE if tasks > 1 else 1
                    for kind, value in subjects[name].measure(calls * more, tasks).items():
                        seconds[way][name][kind].append(value)
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return seconds


def _print_cpu(seconds: _Seconds, title: str) -> None:
    for way, subjects in seconds.items():
        print(f"\n{f'{title}, {way}':<46}{'median µs':>11}{'x bare':>9}{'quartiles':>15}")
        for name, figures in subjects.items():
            low, middle, high = quartiles(ratios(figures["cpu"], subjects[BARE]["cpu"]))
            median = statistics.median(figures["cpu"]) * 1e6
            print(f"{name:<46}{median:>11.0f}{middle:>9.2f}{f'{low:.2f} - {high:.2f}':>15}")


def _print_rates(seconds: _Seconds) -> None:
    print(f"\n{'calls in a second, 100 tasks':<46}{'median':>11}{'x bare':>9}{'quartiles':>15}")
    clock = {name: figures["clock"] for name, figures in seconds["100 tasks"].items()}
    for name, values in clock.items():
        low, middle, high = quartiles(ratios(clock[BARE], values))
        print(f"{name:<46}{1 / statistics.median(values):>11.0f}{middle:>9.2f}{f'{low:.2f} - {high:.2f}':>15}")


def _measure_tls(rounds: int, calls: int) -> _Seconds | None:
    """Measure over TLS, too: whether smaller reads are cheaper there, where it is not the socket that is read."""
    if shutil.which("openssl") is None:
        print("\nnot measured over TLS: openssl, which makes the certificate, is not installed")
        return None
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        with serving(certificate) as base_url:
            seconds = _measure_calls(base_url, _OVER_TLS, rounds, calls, certificate)
    _print_cpu(seconds, "CPU per create_key over TLS")
    return seconds


def _measure_imports(rounds: int) -> dict[str, list[dict[str, float]]]:
    figures: dict[str, list[dict[str, float]]] = {"needed": [], "client": []}
    for _ in range(rounds):
        for name, statement in (("needed", f"import {', '.join(_NEEDED)}"), ("client", _BUILD)):
            figures[name].append(run_python("-m", "benchmarks.importing", statement))
    print(f"\n{'CPU of an import':<46}{'median ms':>11}{'modules':>9}")
    for name, values in zip((", ".join(_NEEDED), "kraken_fastkey, and a client"), figures.values(), strict=True):
        print(f"{name:<46}{statistics.median(one['cpu'] for one in values) * 1e3:>11.0f}{values[0]['modules']:>9.0f}")
    return figures


def _measure_accounts() -> dict[str, list[dict[str, float]]]:
    numbers = {"1,000": ["1000"], "100,000": ["100000"], "100,000, each used": ["100000", "used"]}
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in numbers}
    for _ in range(_ACCOUNT_ROUNDS):
        for name, arguments in numbers.items():
            figures[name].append(run_python("-m", "benchmarks.accounts", *arguments))
    print(f"\n{'accounts':<46}{'bytes each':>11}{'s in all':>9}{'µs each':>15}")
    for name, values in figures.items():
        seconds = statistics.median(one["seconds"] for one in values)
        size = statistics.median(one["bytes"] for one in values)
        print(f"{name:<46}{size:>11.0f}{seconds:>9.2f}{seconds / int(numbers[name][0]) * 1e6:>15.1f}")
    return figures


def _measure_growth(base_url: str, calls: int) -> dict[str, float]:
    figure: dict[str, float] = run_python("-m", "benchmarks.growth", base_url, str(calls))
    grown = (figure["at_end"] - figure["after_first"]) / 1024
    most = (figure["most"] - figure["after_first"]) / 1024
    print(f"\nmemory after {calls:,} calls, beside that after the first 10,000: {grown:+.0f} KiB ({most:+.0f} at most)")
    return {"calls": calls, **figure}


def _measure_size() -> dict[str, Any]:
    """Return what the package's own files take, but for Python's bytecode, and what else it needs installed."""
    files = [file for file in (ROOT / "kraken_fastkey").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    size = sum(file.stat().st_size for file in files)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    packages = sorted({Requirement(line).name for line in project["dependencies"]}.difference(_NEEDED))
    print(f"\ninstalled beside {', '.join(_NEEDED)}: {size:,} bytes; further packages: {', '.join(packages) or 'none'}")
    return {"bytes": size, "packages": packages}


def _print_verdicts(verdicts: Sequence[Verdict]) -> None:
    print(f"\n{'goal':<86}{'measured':>10}{'quartiles':>15}")
    for verdict in verdicts:
        measured = "-" if verdict.median is None else verdict.show(verdict.median)
        spread = " - ".join(map(verdict.show, verdict.spread or ()))
        word = {True: "reached", False: "MISSED", None: "not measured"}[verdict.reached]
        print(f"{verdict.name:<72}{verdict.goal:>14}{measured:>10}{spread:>15}  {word}")
    reached = sum(verdict.reached is True for verdict in verdicts)
    print(f"{reached} of {len(verdicts)} goals are reached")


def _conditions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
        "packages": {name: importlib.metadata.version(name) for name in (*_NEEDED, *_OTHERS)},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each subject is measured, at least twice")
    parser.add_argument("--calls", type=int, default=300, help="how many calls a round of one task has")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too, which takes valgrind")
    parser.add_argument(
        "--growth",
        type=int,
        default=GROWTH_CALLS,
        help="calls to see whether memory grows, more than 10,000; 0 for none",
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="the file to write")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: must be 2 or more, for there to be a spread")
    if options.calls < 1:
        parser.error("--calls: must be 1 or more")
    if options.growth and options.growth <= 10_000:
        parser.error("--growth: must be more than 10,000, which are those that memory is compared to, or 0")
    if options.instructions and shutil.which("valgrind") is None:
        parser.error("--instructions: valgrind is not installed")
    return options


def main() -> None:
    """Measure, and tell."""
    options = _options()
    results: dict[str, Any] = {"conditions": _conditions()}
    print(json.dumps(results["conditions"]))
    with serving() as base_url:
        results["calls"] = _measure_calls(base_url, [*SUBJECTS], options.rounds, options.calls)
        _print_cpu(results["calls"], "CPU per create_key")
        _print_rates(results["calls"])
        if options.instructions:
            counts = {name: count_instructions(name, base_url, 100) for name in (BARE, OURS)}
            results["instructions"] = counts
            print(f"\ninstructions per call, 100 tasks: {counts}; x bare: {counts[OURS] / counts[BARE]:.2f}")
        results["growth"] = _measure_growth(base_url, options.growth) if options.growth else None
    results["tls"] = _measure_tls(options.rounds, options.calls)
    results["imports"] = _measure_imports(options.rounds)
    results["accounts"] = _measure_accounts()
    results["size"] = _measure_size()
    verdicts = [*judge(results)]
    _print_verdicts(verdicts)
    results["goals"] = [verdict.to_json() for verdict in verdicts]
    options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
