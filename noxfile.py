"""What is checked before a change goes in: `nox` runs all of it, `nox -s tests-3.11` a part."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests", "lowest", "coverage", "docs", "build"]

PROJECT = nox.project.load_toml("pyproject.toml")


def _is_installed(version: str) -> bool:
    """Run it, not just look it up: a version manager may have a stand-in on the path for what is not there."""
    name = f"python{version}"
    return bool(shutil.which(name)) and subprocess.run([name, "-V"], capture_output=True, check=False).returncode == 0


PYTHONS = [version for version in nox.project.python_versions(PROJECT) if _is_installed(version)]


def _install(session: nox.Session, *groups: str) -> None:
    session.install("--upgrade", "pip")
    session.install(".", *(option for group in groups for option in ("--group", group)))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, in Python's development mode."""
    _install(session, "tests")
    session.run("python", "-X", "dev", "-m", "pytest", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that the metadata allows."""
    _install(session, "tests")
    floors = [requirement.partition(",")[0].replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
    session.install(*floors)
    session.run("python", "-m", "pytest", *session.posargs)


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
    """Check style, formatting, and that everything public, each test among it, has a docstring."""
    _install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


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
    """Build the documentation; a warning is an error."""
    _install(session, "docs")
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel, and use each from an empty environment with the core dependencies alone."""
    session.install("--upgrade", "pip")
    session.install("--group", "build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist", silent=True)
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
    """Measure what a call costs, against the sandbox."""
    _install(session)
    session.run("python", "bench/calls.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Create 10,000 keys through faults and cancellations, or as `-- --creates N --seed S` says; balance the books."""
    session.install("--upgrade", "pip")
    session.install(".", "--group", "soak")
    session.run("python", "-m", "soak", *session.posargs)
