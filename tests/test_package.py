"""The package as a whole: what it exports, what it needs, and which module may know which."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kraken_fastkey
import kraken_fastkey.sandbox
import kraken_fastkey.stores

ROOT = Path(kraken_fastkey.__file__).parent

# Each floor may know those above it in this list, and its own rooms may not know each other unless named so.
FLOORS: list[set[str]] = [
    {
        "_deadlines",
        "_frozendict",
        "_secret",
        "_turns",
        "_values",
        "_version",
        "_validation",
        "_runtime",
        "_shield",
        "_key_notes",
    },
    {"_errors"},
    {"_events"},
    {"_events.event"},
    {"_models"},
    {f"_events.{name}" for name in ("client", "grants", "leases", "observed", "orphans", "stores", "verification")},
    {"_log_records", "otel"},
    {"_emitter"},
    {"_wire.http", "_wire.excerpt", "_wire.fields", "_wire.codes", "_wire.decoding"},
    {"_wire.faults", "_wire.usual"},
    {"_wire.converter"},
    {"_wire.calls"},
    {"_wire.answers"},
    {"_wire.token", "_wire.private"},
    {"_wire"},
    {"_retry", "_tokens", "_client_secret", "_progress", "_doubt", "_evidence", "_lease_record", "_name_turns"},
    {"_token_sources", "_grant", "_account", "_background"},
    {"_observed"},
    {"_transport", "stores"},
    {"_engine", "_oauth", "_nonces"},
    {"_listing", "_signing"},
    {"_janitor", "_verifying"},
    {"_creating", "_changing", "_observed_engine"},
    {"_client", "_refreshing", "_login"},
    {"_leasing", "_probing"},
    {"_lease_checks"},
    {"_lease"},
    {"_adapters"},
    {"_env_file"},
    {""},
    {"sandbox"},
    {"testing._conformance", "testing._clock", "testing._leaks"},
    {"testing._grant_conformance", "testing._key_conformance", "testing._threaded"},
    {"testing._login"},
    {"testing._plugin"},
    {"testing"},
    {"cli._curl", "cli._stdout"},
    {"cli._demo", "cli._sandbox", "cli._exits", "cli._times", "cli._values"},
    {"cli._config", "cli._output"},
    {"cli._invocation", "cli._keys", "cli._progress", "cli._scopes"},
    {"cli._session", "cli._command", "cli._options"},
    {"cli._advice", "cli._deleting", "cli._dry_run", "cli._forgetting", "cli._handing"},
    {f"cli._{name}" for name in ("access", "create", "delete", "list", "rotate", "sweep", "update", "verify")},
    {"cli._completion", "cli._doctor", "cli._trying"},
    {"cli._app", "cli._bare"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in {"sandbox", "stores"}:
        return parts[0]
    return ".".join(part for part in parts if part != "__init__")


def _imports(path: Path) -> set[str]:
    """Return the modules that a file imports, absolute, the package's own ones from their files."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            for alias in node.names:
                inner = ROOT.parent / Path(*f"{module}.{alias.name}".split("."))
                is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
                found.add(f"{module}.{alias.name}" if is_module else module)
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_one_way(path: Path) -> None:
    """A module knows only those below it; the sandbox knows nothing but itself."""
    room = _room(path)
    known = {
        name.removeprefix("kraken_fastkey").removeprefix(".") for name in _imports(path) if "kraken_fastkey" in name
    }
    if room == "sandbox":
        assert all(name.startswith("sandbox") for name in known)
        return
    for name in known:
        inside = name.partition(".")[0]
        other = inside if inside in {"sandbox", "stores"} else name
        if other == room == "stores":
            continue
        assert FLOOR_OF[other] < FLOOR_OF[room], f"{room} must not know {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_aiohttp_is_known_to_the_transport_and_the_sandbox_alone(path: Path) -> None:
    """No other module runs aiohttp's code; the clients name their session's type, for type checkers."""
    room = _room(path)
    if any(name.partition(".")[0] == "aiohttp" for name in _imports(path)):
        # The login runs a server for the browser to come back to; that is no part of a client.
        assert room in {"_transport", "_login", "sandbox", "_client", "_oauth", "_verifying"}
    if room in {"_client", "_oauth", "_verifying"}:
        assert "if TYPE_CHECKING:\n    import aiohttp\n" in path.read_text(encoding="utf-8")


def test_the_core_needs_three_packages() -> None:
    """aiohttp, attrs and cattrs; all else is an extra."""
    requirements = importlib.metadata.requires("kraken-fastkey") or []
    core = {requirement for requirement in requirements if "extra ==" not in requirement}
    assert {"aiohttp", "attrs", "cattrs"} == {re.split("[<>=~]", requirement)[0] for requirement in core}
    assert {"cli", "crypto", "keyring", "otel", "redis", "speedups", "sql"} == set(
        importlib.metadata.metadata("kraken-fastkey").get_all("Provides-Extra") or []
    )


def test_importing_takes_no_extra() -> None:
    """Everything that is public can be imported where no extra, and nothing of the tests, is installed."""
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(name)
EXTRAS = {"ccxt", "click", "kraken", "rich", "cryptography", "keyring", "redis", "sqlalchemy", "opentelemetry"}
EXTRAS |= {"orjson", "platformdirs", "pytest", "yaml"}
sys.meta_path.insert(0, Refuse())
import kraken_fastkey, kraken_fastkey.sandbox, kraken_fastkey.stores, kraken_fastkey.cli
print(kraken_fastkey.__version__, *(EXTRAS & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert f"{kraken_fastkey.__version__}\n" == done.stdout


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_importing_the_package_alone_is_cheap() -> None:
    """Nothing but the version is imported before a name is asked for, and then not the network for all names."""
    program = """
import sys
import kraken_fastkey
heavy = {"aiohttp", "asyncio", "attrs", "cattrs", "ssl"}
print(sorted(heavy & set(sys.modules)))
kraken_fastkey.SecretStr, kraken_fastkey.FastKeyError, kraken_fastkey.Permissions, kraken_fastkey.RetryPolicy
print(sorted((heavy - {"attrs"}) & set(sys.modules)))
"""
    assert "[]\n[]\n" == _run(program)


def test_a_client_loads_nothing_but_its_own() -> None:
    """A client that is built has loaded no module that only others need, or only what has gone wrong."""
    events = {f"_events.{name}" for name in ("grants", "leases", "observed", "stores", "verification")}
    ours = {
        "_lease",
        "_login",
        "_nonces",
        "_oauth",
        "_refreshing",
        "_version",
        "_wire.faults",
        "otel",
        "stores",
        *events,
    }
    program = f"""
import importlib
import sys
import aiohttp
before = set(sys.modules)
from kraken_fastkey import FastKeyClient, StaticTokenProvider
FastKeyClient(StaticTokenProvider("FAKE-TOKEN"))
needless = {{"cattrs", "html", *(f"kraken_fastkey.{{name}}" for name in {ours})}}
print(sorted(needless & (set(sys.modules) - before)))
for name in needless:
    importlib.import_module(name)  # one that is gone would be loaded by nobody
"""
    assert "[]\n" == _run(program)


def test_names_come_from_where_type_checkers_see_them() -> None:
    """What is imported when it is asked for is what the block for type checkers imports, name by name."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: (node.module or "").removeprefix("kraken_fastkey.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == kraken_fastkey._HOMES  # type: ignore[attr-defined]  # not for type checkers
    assert set(kraken_fastkey.__all__) == {*seen, "__version__"}


def test_names_are_like_any_other_module_s() -> None:
    """dir(), import *, pickles and stores work in a fresh interpreter; a name that there is not is an error."""
    program = """
import pickle
import kraken_fastkey
assert set(kraken_fastkey.__all__) <= set(dir(kraken_fastkey))
kraken_fastkey.stores.MemoryGrantStore
error = pickle.loads(b"ckraken_fastkey\\nKeyNotFoundError\\n(S'gone'\\ntR.")
assert type(error) is kraken_fastkey.KeyNotFoundError
from kraken_fastkey import *
assert FastKeyClient is kraken_fastkey.FastKeyClient
try:
    kraken_fastkey.FastKeyKlient
except AttributeError as error:
    print(error)
"""
    assert "module 'kraken_fastkey' has no attribute 'FastKeyKlient'\n" == _run(program)


def test_what_is_exported_is_there_and_sorted() -> None:
    """__all__ tells the whole public face; nothing public is missing from it."""
    for module in (kraken_fastkey, kraken_fastkey.sandbox, kraken_fastkey.stores):
        exported = list(module.__all__)
        assert len(exported) == len(set(exported))
        assert all(hasattr(module, name) for name in exported)
        private = {name for name in exported if name.startswith("_")} - {"__version__"}
        assert set() == private


@pytest.mark.parametrize(
    "name",
    [
        *("FastKeyClient", "CreateKeyRequest", "UpdateKeyRequest", "Permissions", "FastApiKey", "KeyInfo", "UserInfo"),
        *("SecretStr", "RetryPolicy", "TokenProvider", "AccessToken", "StaticTokenProvider", "CallbackTokenProvider"),
        *("Grant", "OAuthClient", "RefreshingTokenProvider", "login"),
        *("EnvironmentTokenProvider", "FileTokenProvider", "CommandTokenProvider", "Timeouts"),
    ],
)
def test_public_names_hold(name: str) -> None:
    """These names are a promise, and documented."""
    assert name in kraken_fastkey.__all__
    assert getattr(kraken_fastkey, name).__doc__


def test_the_package_says_that_it_is_typed() -> None:
    """py.typed is where type checkers look for it (PEP 561)."""
    assert (ROOT / "py.typed").exists()


def test_the_version_is_the_installed_one() -> None:
    """__version__ and the metadata agree."""
    assert importlib.metadata.version("kraken-fastkey") == kraken_fastkey.__version__


def test_files_that_were_copied_have_no_version_and_work() -> None:
    """Without metadata, as in a vendored copy, the version is said to be unknown."""
    command = [sys.executable, "-S", "-c", "import kraken_fastkey; print(kraken_fastkey.__version__)"]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=True, timeout=60)
    assert "0+unknown\n" == done.stdout


def test_the_floors_are_those_that_the_page_on_compatibility_names() -> None:
    """Each dependency's oldest version, and each Python, is there as it is in the metadata."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT.parent / "docs" / "reference" / "compatibility.md").read_text(encoding="utf-8")
    groups = {"the core": project["dependencies"]}
    groups |= {f"`{extra}`": found for extra, found in project["optional-dependencies"].items()}
    for label, requirements in groups.items():
        floors = [re.sub(r"(\[\w+\])?>=([\d.]+).*", r" \2", requirement) for requirement in requirements]
        assert f"| {label} | {', '.join(floors)} |" in page
    minors = [name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert f"{', '.join(minors[:-1])} and {minors[-1]}." in page
