"""Asks PyPI whether what users install has known vulnerabilities, and makes sure that it was PyPI that answered.

`python -m tools.audit requirements.txt` takes pinned requirements. pip-audit ends with status 0 where the service that
it asks knows nothing of a package, as mirrors of PyPI do. So a release that is known to be vulnerable is asked about in
the same run: only where that one is found does "nothing found" mean anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

KNOWN_VULNERABLE: Final = ("requests", "2.19.1")
"""PYSEC-2018-28: it sends credentials to other hosts."""

CLEAN, FOUND, NOT_ASKED = 0, 1, 3


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Read pip-audit's report: the status to end with, and what to say."""
    lines: list[str] = []
    asked = False
    unknown: list[str] = []
    for package in report["dependencies"]:
        name, version = package["name"], package.get("version")
        if "skip_reason" in package:
            unknown.append(name)
        elif (name, version) == KNOWN_VULNERABLE:
            asked = bool(package["vulns"])
        else:
            for fault in package["vulns"]:
                fixed = ", ".join(fault["fix_versions"]) or "none yet"
                lines.append(f"{name} {version}: {fault['id']}; fixed in: {fixed}")
    if not asked:
        pinned = "==".join(KNOWN_VULNERABLE)
        return NOT_ASKED, [f"not audited: the service does not know that {pinned} is vulnerable, or is out of reach"]
    if unknown:
        return NOT_ASKED, [f"not audited: the service does not know {', '.join(sorted(unknown))}"]
    return (FOUND, lines) if lines else (CLEAN, [f"{len(report['dependencies']) - 1} packages, nothing known of them"])


def main(requirements: Path) -> int:
    """Audit pinned requirements, one in a line."""
    with tempfile.TemporaryDirectory() as folder:
        pinned, output = Path(folder) / "requirements.txt", Path(folder) / "report.json"
        pinned.write_text(f"{requirements.read_text('utf-8')}\n{'=='.join(KNOWN_VULNERABLE)}\n", "utf-8")
        options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", f"--output={output}"]
        command = [sys.executable, "-m", "pip_audit", *options, f"--requirement={pinned}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if not output.exists():
            print(done.stderr.strip().rpartition("\n")[2], "not audited: pip-audit gave no report", sep="\n")
            return NOT_ASKED
        status, lines = verdict(json.loads(output.read_text("utf-8")))
    print(*lines, sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
