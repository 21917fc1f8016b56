"""What is checked before a change goes in: `nox` runs all of it, `nox -s tests-3.11` a part."""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import nox
from packaging.requirements import Requirement

# uv makes an environment in a second, where it is there.
nox.options.default_venv_backend = "uv|venv"
nox.options.sessions = ["lint", "types", "tests", "dev", "lowest", "coverage", "docs", "build", "sbom", "audit"]

PROJECT = nox.project.load_toml("pyproject.toml")


def _is_installed(version: str) -> bool:
    """Run it, not just look it up: a version manager may have a stand-in on the path for what is not there."""
    name = f"python{version}"
    return bool(shutil.which(name)) and subprocess.run([name, "-V"], capture_output=True, check=False).returncode == 0


PYTHONS = [version for version in nox.project.python_versions(PROJECT) if _is_installed(version)]
EXTRAS = sorted(PROJECT["project"]["optional-dependencies"])


def _install(session: nox.Session, *groups: str, package: tuple[str, ...] = (".",)) -> None:
    if session.venv_backend == "venv":
        session.install("--upgrade", "pip")  # --group came with pip 25.1
    session.install(*package, *(option for group in groups for option in ("--group", group)))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests."""
    _install(session, "tests")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def dev(session: nox.Session) -> None:
    """Run the tests in Python's development mode, which takes three times as long; or those that are named."""
    _install(session, "tests")
    session.run("python", "-X", "dev", "-m", "pytest", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that the metadata allows, those of the extras among them."""
    # Not in create_tmp(), which becomes TMPDIR: a server that runs as another user could not reach its data there.
    floors = session.cache_dir / "floors.txt"
    floors.write_text("\n".join(_floors()), "utf-8")
    _install(session, "tests", package=(f".[{','.join(EXTRAS)}]", "--constraint", str(floors)))
    # The adapters are tested with a ccxt that needs newer packages than these.
    session.run("python", "-m", "pytest", "--ignore=tests/test_adapters.py", *session.posargs)


def _floors() -> list[str]:
    """Pin each requirement of the package to its floor."""
    pins = []
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in map(Requirement, itertools.chain(PROJECT["project"]["dependencies"], *extras)):
        (floor,) = (limit.version for limit in requirement.specifier if limit.operator == ">=")
        pins.append(f"{requirement.name}=={floor}")
    return pins


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests, and measure which branches they reach."""
    _install(session, "tests")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, that everything, each test among it, has a docstring; notes and workflows."""
    _install(session, "lint", "changelog", package=())
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # Fails where a note's file has another name than changelog.d/README.md says.
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)
    workflows = map(str, pathlib.Path(".github/workflows").iterdir())
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", "--persona", "pedantic", ".github")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, and that the public face has all of them."""
    _install(session, "types", "dev")
    session.run("mypy")
    session.run("pyright")
    # Fails unless each name of the public face has a known type.
    with session.chdir(session.create_tmp()):
        session.run("pyright", "--verifytypes", "kraken_fastkey", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, a warning being an error, and look at it in a browser."""
    _install(session, "docs")
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("python", "-m", "pytest", "docs_tests", env={"DOCS_HTML": "docs/_build/html"})


@nox.session
def build(session: nox.Session) -> None:
    """Build the last commit twice, to the same bytes; look into the packages, and use each with the core alone."""
    _install(session, "build", package=())
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "tools.packages", "dist")
    session.run("twine", "check", "--strict", *map(str, pathlib.Path("dist").iterdir()))
    for package in sorted(pathlib.Path("dist").iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            session.run("python", "-m", "venv", folder)
            python = str(pathlib.Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python")
            session.run(python, "-m", "pip", "install", "--quiet", str(package.resolve()), external=True)
            # From elsewhere, so that the package and not the checkout is imported.
            with session.chdir(folder):
                session.run(python, "-X", "dev", "-W", "error", "-m", "kraken_fastkey", "demo", external=True)


@nox.session
def sbom(session: nox.Session) -> None:
    """Write build/*.cdx.json: what the wheel in dist/ runs with, alone and with all its extras."""
    (wheel,) = pathlib.Path("dist").glob("*.whl")
    commit_time = subprocess.run(["git", "show", "-s", "--format=%ct"], capture_output=True, text=True, check=False)
    environment = {"SOURCE_DATE_EPOCH": commit_time.stdout.strip()} if commit_time.returncode == 0 else {}
    _install(session, "sbom", package=())
    version = wheel.name.split("-")[1]
    for label, extras in {"": [], "-extras": EXTRAS}.items():
        python = _closure(session, f"{PROJECT['project']['name']}[{','.join(extras)}] @ {wheel.resolve().as_uri()}")
        output = f"build/kraken_fastkey-{version}{label}.cdx.json"
        session.run("python", "-m", "tools.sbom", python, version, output, *extras, env=environment)


@nox.session
def audit(session: nox.Session) -> None:
    """Ask PyPI whether anything that the core or an extra brings along has a known vulnerability."""
    _install(session, "audit", package=())
    pinned = pathlib.Path(session.create_tmp()) / "closure.txt"
    python = _closure(session, f".[{','.join(EXTRAS)}]")
    freeze = ("freeze", "--exclude", PROJECT["project"]["name"])
    listed = session.run("python", "-m", "pip", "--python", python, *freeze, silent=True)
    pinned.write_text(str(listed), "utf-8")
    # 3 is "not audited": a failure where others rely on it, and never a success.
    codes = [0] if os.environ.get("CI") else [0, 3]
    said = str(session.run("python", "-m", "tools.audit", str(pinned), success_codes=codes, silent=True)).strip()
    if said.startswith("not audited"):
        session.skip(said)
    session.log(said)


def _closure(session: nox.Session, package: str) -> str:
    """Install a package into an environment of its own with nothing else in it; return its Python's path."""
    folder = tempfile.mkdtemp(dir=session.create_tmp())
    session.run("python", "-m", "venv", "--without-pip", folder)
    python = str(pathlib.Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    session.run("python", "-m", "pip", "--python", python, "install", "--quiet", package)
    return python


@nox.session
def changelog(session: nox.Session) -> None:
    """Show what the notes in changelog.d/ make; `-- --version 0.2.0` writes it into CHANGELOG.md."""
    _install(session, "changelog", package=())
    session.run("towncrier", "build", *(session.posargs or ["--draft", "--version", "next"]))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz a million answers, or as `-- --answers N --seed S` says; `-- atheris SECONDS` lets coverage lead it."""
    _install(session, "tests")
    if session.posargs[:1] != ["atheris"]:
        session.run("python", "tests/fuzzing.py", *session.posargs)
        return
    # Wheels alone: to build it takes clang's own libFuzzer.
    session.install("--only-binary=:all:", "atheris", success_codes=[0, 1])
    seconds = session.posargs[1] if len(session.posargs) > 1 else "60"
    session.run("python", "tests/fuzz_atheris.py", f"-max_total_time={seconds}")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what the library costs, beside bare aiohttp and others; `-- --rounds N --instructions` says how."""
    _install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Create 10,000 keys through faults and cancellations, or as `-- --creates N --seed S` says; balance the books."""
    _install(session, "soak")
    session.run("python", "-m", "soak", *session.posargs)
    # Once more for each way to be closed in the middle of it.
    if "--ending" not in session.posargs:
        for ending in ("at once", "amid"):
            session.run("python", "-m", "soak", "--alone", "--ending", ending, *session.posargs)
