"""How the command line starts: quickly, under both names, and with completion."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import missing

from kraken_fastkey.cli import main
from kraken_fastkey.cli._app import _SECTIONS
from kraken_fastkey.cli._values import PERMISSIONS

COMMANDS = [name for section in _SECTIONS.values() for name in section]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["lst"], ["create", "--help"], ["login", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """What the help, the version and a slip take leaves the network, and tables, alone."""
    program = f"""
import sys
from kraken_fastkey.cli import main
main({arguments})
print(sorted({{"aiohttp", "rich.table"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # What a slip is answered with may be coloured; a command's own help comes with its module.
    assert ("[]" if arguments[0].startswith("-") else "['rich.table']") == done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_tells_what_each_command_says_of_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines in the help, which imports no command, are the first of the commands' own."""
    told = {name: text for section in _SECTIONS.values() for name, (_, text) in section.items()}
    assert 0 == main([name, "--help"])
    usage, _, first, *_ = capsys.readouterr().out.splitlines()
    assert usage.startswith(f"Usage: kraken-fastkey {name} ")
    assert told[name] == first.strip()


def test_the_console_script_is_this_one() -> None:
    """`kraken-fastkey` runs the same function as `python -m kraken_fastkey`."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="kraken-fastkey")
    assert main is script.load()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kraken-fastkey r", ["rotate"]),
        ("kraken-fastkey create --permission trades-query-", ["trades-query-closed", "trades-query-open"]),
        ("kraken-fastkey create --permission ", list(PERMISSIONS)),
        ("kraken-fastkey update grid --valid-until n", ["never"]),
        ("kraken-fastkey list --profile ", ["live", "test"]),
    ],
)
def test_completion(words: str, expected: list[str], tmp_path: Path) -> None:
    """The shell's script is answered with commands, permissions and profiles."""
    config = tmp_path / "config.toml"
    config.write_text("[profiles.test]\n[profiles.live]\n", encoding="utf-8")
    # An empty last word is one, too.
    count = len(words.split(" ")) - 1
    environment = {
        **os.environ,
        "_KRAKEN_FASTKEY_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
        "KRAKEN_FASTKEY_CONFIG": str(config),
    }
    done = subprocess.run(
        [sys.executable, "-m", "kraken_fastkey"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [f"plain,{word}" for word in expected] == done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_one(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed for each shell, and a shell that is there can read it."""
    assert 0 == main(["completion", shell])
    script = capsys.readouterr().out
    assert "_KRAKEN_FASTKEY_COMPLETE" in script
    if shell == "bash":
        if shutil.which("bash") is None:
            missing("bash")
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=60)
