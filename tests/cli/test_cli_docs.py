"""What the pages say of the command line is what it does.

`pytest tests/cli --update-goldens` writes the generated parts of `docs/reference/cli.md` anew.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from cli_kit import GOLDEN, Cli, cli_fixture
from test_cli_golden import COMMANDS

from kraken_fastkey import KeyInfo, TransportError
from kraken_fastkey.cli._app import commands
from kraken_fastkey.cli._command import Command
from kraken_fastkey.cli._config import _FIELDS
from kraken_fastkey.cli._exits import EXIT_MEANINGS, describe_error
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._keys import describe_key

FIXTURES = (cli_fixture,)
DOCS = Path(__file__).parent.parent.parent / "docs"
REFERENCE = DOCS / "reference" / "cli.md"
HOW_TO = DOCS / "how-to" / "command-line.md"


def _tree() -> dict[str, click.Command]:
    context = click.Context(commands)
    found = {name: commands.get_command(context, name) for name in commands.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _exit_codes() -> str:
    rows = [_row(f"{code:d}", meaning) for code, meaning in EXIT_MEANINGS.items()]
    return "\n".join([_row("Code", "Meaning"), _row("---", "---"), *rows])


def _option(option: click.Option) -> str:
    words = ", ".join(option.opts)
    kind = option.type
    value = f" {option.metavar}" if option.metavar else "" if option.is_flag else f" {kind.name.upper()}"
    if isinstance(kind, click.Choice):
        value = f" {'|'.join(kind.choices)}"
    return f"`{words}{'' if option.is_flag else value}`"


def _help(option: click.Option) -> str:
    default = option.default if isinstance(option.default, str) and option.show_default else None
    more = [f"Default: `{default}`." if default else ""]
    return " ".join(part for part in [_as_code(option.help or ""), *more] if part)


def _as_code(text: str) -> str:
    """Return a text with its options marked as code: two hyphens would become a dash."""
    return re.sub(r"(?<!\S)(--[a-z-]+)", r"`\1`", text)


def _options_table(options: list[click.Option]) -> str:
    return "\n".join([_row("Option", "What"), _row("---", "---"), *[_row(_option(o), _help(o)) for o in options]])


def _common(command: click.Command) -> list[click.Option]:
    assert isinstance(command, Command)
    return [option for option in command.common() if isinstance(option, click.Option)]


def _commands() -> str:
    intro = (
        "All commands have these options, but for those that need no configuration (`sandbox`, `demo`, `completion`)\n"
        "or print no data (`completion`). They may stand before the command, too."
    )
    parts = [intro, _options_table(_common(_tree()["list"]))]
    for name, command in _tree().items():
        common = {option.name for option in _common(command)}
        options = [o for o in command.params if isinstance(o, click.Option) and o.name not in common]
        usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name)))
        text = inspect.cleandoc(command.help or "")
        text = re.sub(r"\x08\n(.*)", lambda lines: f"```text\n{lines[1]}\n```", text, flags=re.DOTALL)
        parts.append(f"### `{name}`\n\n`kraken-fastkey {name} {usage}`\n\n{_as_code(text)}")
        parts += [_options_table(options)] if options else []
    return "\n\n".join(parts)


GENERATED = {"exit codes": _exit_codes, "commands": _commands}


@pytest.mark.parametrize("part", GENERATED)
def test_the_reference_is_generated(part: str, request: pytest.FixtureRequest) -> None:
    """Commands, options and exit codes are there as the code has them."""
    page = REFERENCE.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end -->)", re.DOTALL)
    wanted = place.sub(lambda found: f"{found[1]}\n{GENERATED[part]()}\n\n{found[2]}", page)
    if request.config.getoption("--update-goldens"):
        REFERENCE.write_text(wanted, encoding="utf-8")
        return
    assert wanted == page


def _table(page: Path, heading: str) -> dict[str, str]:
    """Return the first table below a line of text: the second cell by the first."""
    text = page.read_text(encoding="utf-8").split(heading, 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows is not None
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in rows[0].splitlines()[2:]]
    return {row[0].strip("`"): row[1] for row in cells}


def test_each_setting_is_documented() -> None:
    """The table of a profile's settings has those that are read, and no other."""
    assert set(_FIELDS) == set(_table(REFERENCE, "Each profile is a table"))


def test_the_key_s_fields_are_documented() -> None:
    """The table has each field of a key, and the secret."""
    fields = describe_key(KeyInfo(api_key_name="a"), 0.0)
    assert [*fields, "secret"] == list(_table(REFERENCE, "A key, wherever there is one"))


def test_the_error_s_fields_are_documented() -> None:
    """The table has each field of an error."""
    assert list(describe_error(TransportError("a text"))) == list(_table(REFERENCE, "for what ended the command"))


def _fields(cell: str) -> list[str]:
    """Return the fields that a cell names, without what is said of them in brackets."""
    return re.findall(r"`(\w+)`", re.sub(r"\([^()]*\)", "", cell))


async def test_the_shapes_are_documented(cli: Cli) -> None:
    """Each command's document has the fields of its row, in that order."""
    rows = {name: _fields(cell) for name, cell in _table(REFERENCE, "these shapes hold").items()}
    documents: dict[str, Any] = {"login": json.loads((await cli.login("--json")).out)}
    for line in (
        "whoami",
        "create a --read-only --env-file .env",
        "list",
        "update a --nonce-window 1",
        "rotate a --env-file .env --yes",
        "verify --env-file .env",
        "doctor",
        "sweep --yes",
        "delete a --yes",
        "logout",
    ):
        documents[line.split()[0]] = json.loads((await cli(*line.split(), "--json")).out)
    documents["--dry-run"] = json.loads((await cli("create", "--dry-run", "--json")).out)
    told = {name: list(document) for name, document in documents.items()}
    # These two are tested where they are run; completion prints no data.
    assert {*told, "sandbox", "demo"} == set(rows) == {*_tree(), "--dry-run"} - {"completion"}
    assert told == {name: [field for field in rows[name] if field in told[name]] for name in told}
    assert {"dry_run", "requests"} == set(told["--dry-run"])
    nested = {"doctor": documents["doctor"]["findings"][0], "--dry-run": documents["--dry-run"]["requests"][0]}
    cells = _table(REFERENCE, "these shapes hold")
    for name, entry in nested.items():
        assert [field for field in re.findall(r"`(\w+)`", cells[name]) if field in entry] == list(entry)


def _command_lines(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^\$ (kraken-fastkey .*)$", text, re.MULTILINE)
    return [*shown, *re.findall(r"^(?:if ! |\(umask 077 && )?(kraken-fastkey [^|;\n)]*)", text, re.MULTILINE)]


@pytest.mark.parametrize("line", _command_lines(HOW_TO))
def test_each_command_of_the_page_can_be_run(line: str) -> None:
    """Commands, options and values on the page are ones that there are."""
    _, name, *rest = shlex.split(line.partition(" > ")[0], comments=True)
    command = _tree()[name]
    command.make_context(name, rest, obj=Invocation())


def test_the_page_shows_many_commands() -> None:
    """The test above has found them."""
    names = {shlex.split(line)[1] for line in _command_lines(HOW_TO)}
    assert {
        "create",
        "login",
        "list",
        "rotate",
        "sweep",
        "delete",
        "doctor",
        "verify",
        "sandbox",
        "completion",
    } <= names


def test_no_golden_file_is_left_over() -> None:
    """Each golden file is some test's."""
    modes = ("plain", "colour", "json")
    assert {f"{name}.{mode}.txt" for name in COMMANDS for mode in modes} == {file.name for file in GOLDEN.iterdir()}
