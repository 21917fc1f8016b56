"""A short soak: hundreds of keys through every fault and many cancellations, and then the books are balanced.

`nox -s soak` runs thousands, beside two other clients.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import aiohttp
import attrs
import pytest

from kraken_fastkey.sandbox import KrakenSandbox, SandboxKey

sys.path.append(str(Path(__file__).resolve().parent.parent))

from soak.__main__ import main
from soak.books import Books, Shown
from soak.report import as_json
from soak.run import Ending, Report, soak
from soak.schedule import FOREIGN_NAMES, Schedule
from soak.subjects import SUBJECTS, FastKeySubject, Make

CREATES = 500
PEERS = ("aiohttp-retry", "aiohttp + tenacity", "the same, creates sent once")


def _soak(seed: int, ending: Ending = "settled", make: Make = FastKeySubject, creates: int = CREATES) -> Report:
    return soak(make, Schedule.make(seed, creates), seed=seed, ending=ending)


def _assert_clean(report: Report) -> None:
    """Check that each key is somebody's, that everybody has theirs, and that nothing is left or unexplained."""
    assert () == report.problems
    assert report.balance.is_clean, report.balance


@pytest.mark.parametrize(
    ("seed", "ending"), [(1, "settled"), (2, "at once"), (3, "amid"), (4, "settled"), (5, "at once")]
)
def test_books_balance(seed: int, ending: Ending) -> None:
    """Whatever goes wrong and whoever goes away, no key is left that nobody holds or was told of, and none is lost."""
    report = _soak(seed, ending)
    _assert_clean(report)
    assert report.faulted > 0.2 * report.requests
    if ending != "amid":
        assert CREATES == report.books.asked
        assert report.books.returned > 0.8 * CREATES
        assert {"create_key", "update_key", "delete_key"} == set(report.books.walked_away)


def test_books_balance_with_the_default_budget() -> None:
    """With the default budget of retries, which such a storm empties, more calls fail, and the books balance, too."""
    report = _soak(6, make=FastKeySubject.with_default_budget)
    _assert_clean(report)
    assert report.books.returned > 0.3 * CREATES


@pytest.mark.parametrize("name", PEERS)
def test_others_leave_orphans(name: str) -> None:
    """The same calls and faults leave orphans behind clients that only try again: the schedule has teeth."""
    report = _soak(1, make=SUBJECTS[name])
    assert len(report.balance.orphans) > 0.02 * CREATES
    assert CREATES == report.books.asked
    assert report.books.returned > 0.5 * CREATES


def test_schedule_comes_from_its_seed() -> None:
    """The same seed gives the same calls, another one gives others."""
    assert Schedule.make(7, 50) == Schedule.make(7, 50)
    assert Schedule.make(7, 50) != Schedule.make(8, 50)


# ---------------------------------------------------------------- would the books notice?


async def _call(sandbox: KrakenSandbox, method: str, body: dict[str, object]) -> None:
    headers = {"Authorization": f"Bearer {sandbox.issue_token()}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.request(method, f"{sandbox.base_url}/fast-api-key", json=body) as response:
            assert "error" not in await response.json()


def test_planted_orphan_is_found() -> None:
    """A key that nobody holds is an orphan."""

    async def plant(sandbox: KrakenSandbox, _: Books) -> None:
        await _call(sandbox, "POST", {"api_key_name": "planted"})

    report = soak(FastKeySubject, Schedule.make(1, 30), seed=1, tamper=plant)
    assert ("planted",) == report.balance.orphans
    assert not report.is_clean


def test_planted_loss_is_found() -> None:
    """A key that is held and has gone is lost: here it is one that was there before the soak."""

    async def remove(sandbox: KrakenSandbox, _: Books) -> None:
        await _call(sandbox, "DELETE", {"api_key_name": FOREIGN_NAMES[0]})

    report = soak(FastKeySubject, Schedule.make(1, 30), seed=1, tamper=remove)
    assert FOREIGN_NAMES[:1] == report.balance.lost
    assert not report.is_clean


def test_planted_change_is_found() -> None:
    """A key that is not as its holder was told is found, too."""

    async def change(sandbox: KrakenSandbox, _: Books) -> None:
        permissions = {"funds_withdraw": True}
        await _call(sandbox, "PUT", {"api_key_name": FOREIGN_NAMES[1], "permissions": permissions})

    report = soak(FastKeySubject, Schedule.make(1, 30), seed=1, tamper=change)
    assert FOREIGN_NAMES[1:2] == report.balance.altered
    assert not report.is_clean


def test_left_task_is_found() -> None:
    """A client that leaves a task behind is found out, and so is one that leaves its session open."""

    class Careless(FastKeySubject):
        async def aclose(self) -> None:
            """Close nothing."""

    report = soak(Careless, Schedule.make(1, 30), seed=1, ending="at once")
    assert any("connections are left open" in problem for problem in report.problems)
    assert any("ResourceWarning" in problem for problem in report.problems)


KEY = SandboxKey(api_key_name="a", api_key="A", secret="SECRET", created_time="1", modified_time="1", nonce_window=1)


def test_books_tell_what_is_wrong() -> None:
    """Each way in which keys and books may differ has its name."""
    books = Books()
    held = books.hold(0, "a", "A", "SECRET", {})
    assert books.balance([KEY]).is_clean
    assert ("a",) == books.balance([attrs.evolve(KEY, secret="OTHER")]).altered
    assert ("a",) == books.balance([]).lost
    assert ("a", "b") == books.balance([KEY, attrs.evolve(KEY, api_key="B", api_key_name="b")]).duplicates
    held.fate = "gone"
    assert ("a",) == books.balance([KEY]).undead
    held.fate = "doubtful"
    assert books.balance([KEY]).is_clean
    assert books.balance([]).is_clean


def test_books_know_who_was_told() -> None:
    """A key that nobody holds is no orphan if the client has named it, unless it also said that it made none."""
    books = Books()
    assert ("a",) == books.balance([KEY]).orphans
    told = books.balance([KEY], unsettled=["a"])
    assert (("a",), ()) == (told.reported, told.orphans)
    books.told.add("a")
    assert ("a",) == books.balance([KEY]).reported
    books.undone.add(0)
    assert ("a",) == books.balance([KEY]).denied


def test_secret_that_is_shown_is_found() -> None:
    """So much as a part of a secret in a log is a leak."""
    secret = "FAKE0secret1of2many3characters4and5digits6"
    shown = Shown()
    shown.add(f"harmless-{secret[:15]}")
    assert 0 == shown.leaks([secret])
    shown.add(f"key={secret[20:]}!")
    assert 1 == shown.leaks([secret])


# ---------------------------------------------------------------- the program


def test_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It prints the seed and a row for each client, writes the figures, and returns 0 if the books balance."""
    path = tmp_path / "soak.json"
    assert 0 == main(["--creates", "60", "--tasks", "20", "--seed", "3", "--json", str(path)])
    printed = capsys.readouterr().out
    assert printed.startswith("seed 3: 60 creates from 20 tasks, 30% faults, 5% cancellations")
    assert all(f"\n{name} " in printed for name in SUBJECTS)
    assert "the books balance (seed 3)" in printed
    assert [*SUBJECTS] == [row["client"] for row in json.loads(path.read_text())]


def test_program_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The other clients may be left out, and the budget of retries may be the default one."""
    assert 0 == main(["--creates", "30", "--alone", "--default-budget"])
    assert PEERS[0] not in capsys.readouterr().out


def test_figures_of_a_report() -> None:
    """The figures hold together: each create gave a key, failed, or was left."""
    figures = as_json(_soak(8, creates=100))
    assert 100 == figures["creates"]
    assert 100 == figures["keys_returned"] + figures["create_errors"] + figures["creates_cancelled"]
