"""Run the soak, print a table, and fail if the books do not balance: `python -m soak --help`."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import get_args

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))  # virtual_time lives there

from soak.report import as_json, explanation, table
from soak.run import Ending, soak
from soak.schedule import Schedule
from soak.subjects import SUBJECTS, FastKeySubject


def main(arguments: list[str] | None = None) -> int:
    """Soak, and return the exit status: 0 if each key is somebody's, everybody has theirs, and nothing is left."""
    parser = argparse.ArgumentParser(
        prog="soak", description="Create thousands of keys through faults, and count them."
    )
    parser.add_argument("--creates", type=int, default=10_000, help="how many keys are asked for (10000)")
    parser.add_argument("--tasks", type=int, default=100, help="by how many tasks (100)")
    parser.add_argument("--seed", type=int, default=1, help="deals out calls, cancellations and faults (1)")
    parser.add_argument("--faults", type=float, default=0.3, help="the share of requests that meet a fault (0.3)")
    parser.add_argument("--cancelled", type=float, default=0.05, help="the share of calls that are cancelled (0.05)")
    parser.add_argument("--ending", choices=get_args(Ending), default="settled", help="when the client is closed")
    parser.add_argument("--free-names", action="store_true", help="give up names that others choose, too")
    parser.add_argument("--default-budget", action="store_true", help="let the retry budget be the default one")
    parser.add_argument("--alone", action="store_true", help="leave out the other clients")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args(arguments)

    schedule = Schedule.make(
        options.seed,
        options.creates,
        tasks=options.tasks,
        cancelled=options.cancelled,
        frees_names=options.free_names,
    )
    print(
        f"seed {options.seed}: {options.creates} creates from {options.tasks} tasks, {options.faults:.0%} faults, "
        f"{options.cancelled:.0%} cancellations, closed {options.ending}"
    )
    reports = []
    for name, make in SUBJECTS.items():
        if options.alone and name != FastKeySubject.name:
            continue
        if options.default_budget and name == FastKeySubject.name:
            make = FastKeySubject.with_default_budget  # noqa: PLW2901
        reports.append(soak(make, schedule, seed=options.seed, share=options.faults, ending=options.ending))
        print(f"  {name}: {reports[-1].real_seconds:.0f} s", file=sys.stderr)
    print(table(reports))
    print(explanation(reports[0]))
    if options.json is not None:
        options.json.write_text(json.dumps([as_json(report) for report in reports], indent=2))
    return 0 if reports[0].is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
