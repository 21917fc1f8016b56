"""Writes what a wheel runs with, as a CycloneDX SBOM in JSON.

`python -m tools.sbom ENVIRONMENT VERSION OUTPUT [EXTRA ...]` lists what an environment's interpreter finds, in which
nothing but the wheel, with those extras, is installed. The same environment and SOURCE_DATE_EPOCH give the same bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

PROJECT = "kraken-fastkey"


def completed(bom: dict[str, Any], version: str, extras: list[str]) -> dict[str, Any]:
    """Return an SBOM whose root says which release of the package it is, and with which extras."""
    root = bom["metadata"]["component"]
    root |= {"version": version, "purl": f"pkg:pypi/{PROJECT}@{version}"}
    # https://github.com/CycloneDX/cyclonedx-property-taxonomy/blob/main/cdx/python.md
    root["properties"] = [{"name": "cdx:python:package:required-extra", "value": extra} for extra in sorted(extras)]
    if not extras:
        del root["properties"]
    return bom


def main(python: str, version: str, output: Path, extras: list[str]) -> None:
    """Write the SBOM of an environment.

    Raises:
        SystemExit: It is not valid.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "bom.json"
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version=1.6", "--output-reproducible"]
        command += ["--pyproject=pyproject.toml", "--mc-type=library", f"--output-file={listed}", python]
        subprocess.run(command, check=True)
        bom = completed(json.loads(listed.read_text("utf-8")), version, extras)
    text = json.dumps(bom, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"not a valid SBOM: {fault}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, "utf-8")
    print(f"{output}: {len(bom['components'])} components", *sorted(extras))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
