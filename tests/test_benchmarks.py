"""The benchmarks compare like with like: all contenders send the same, and make the same of the answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from asyncio import sslproto
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import answering, http, missing

from kraken_fastkey import _transport

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import goals  # noqa: E402  # it is not installed
from benchmarks.processes import Subject, make_certificate, serving  # noqa: E402
from benchmarks.server import KEY  # noqa: E402
from benchmarks.subjects import LIFE, SUBJECTS, TOKEN, Key, kraken_fastkey_large_reads, make_key  # noqa: E402

# What only `nox -s bench` installs.
PACKAGES = {"stamina": "stamina", "azure-core": "azure.core", "httpx + authlib": "authlib"}


@pytest.mark.parametrize("name", SUBJECTS)
async def test_all_do_the_same_work(name: str) -> None:
    """Each sends the same request with the same token, and reads the same key, field by field, out of the answer."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    body = json.dumps({"error": [], "result": KEY}).encode()
    answer = http(200, body, "Content-Type: application/json; charset=utf-8")
    earliest = int(time.time())
    async with (
        answering(answer).listening() as server,
        SUBJECTS[name](server.base_url.removesuffix("/oauth")) as create,
    ):
        key: Any = await create(1)
    latest = int(time.time()) + 1

    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert "post /fast-api-key http/1.1" == lines[0]
    assert f"authorization: bearer {TOKEN}" in lines
    request = json.loads(sent)
    assert earliest <= request.pop("valid_until") - LIFE.total_seconds() <= latest
    assert {
        "api_key_name": "bot-1",
        "permissions": {"funds_query": True, "trades_query_open": True},
        "ip_allowlist": ["203.0.113.0/24"],
    } == request

    expected = make_key(KEY)
    for field in attrs.fields(Key):
        mine = getattr(key, field.name)
        if not isinstance(key, Key) and field.name == "permissions":
            mine = mine.flags()
        elif not isinstance(key, Key) and field.name == "secret":
            mine = mine.get_secret_value()
        assert getattr(expected, field.name) == mine, field.name


def test_a_subject_measures_itself() -> None:
    """A call takes some processor time, and no less time by the clock than that, but for the clocks' steps."""
    with serving() as base_url:
        subject = Subject("bare aiohttp + json", base_url)
        try:
            seconds = subject.measure(50, 5)
        finally:
            subject.close()
    assert 0 < seconds["cpu"] < seconds["clock"] + 0.01


def test_a_subject_is_measured_over_tls(tmp_path: Path) -> None:
    """It trusts the certificate that the server was given."""
    if shutil.which("openssl") is None:
        missing("openssl")
    certificate = make_certificate(tmp_path)
    with serving(certificate) as base_url:
        subject = Subject("kraken-fastkey", base_url, certificate)
        try:
            seconds = subject.measure(5, 5)
        finally:
            subject.close()
    assert base_url.startswith("https:")
    assert 0 < seconds["cpu"]


async def test_large_reads_are_those_of_asyncio() -> None:
    """The subject with asyncio's buffers has no limit of its own while it lasts, and leaves none changed."""
    usual = _transport._PIECE
    async with kraken_fastkey_large_reads("http://127.0.0.1"):
        assert sslproto.SSLProtocol.max_size == _transport._PIECE
    assert usual == _transport._PIECE < sslproto.SSLProtocol.max_size


def _results(**replaced: Any) -> dict[str, Any]:
    """Return results that just reach each goal, in three rounds on a machine that slows down."""
    costs = dict.fromkeys(SUBJECTS, 1.0) | {
        "kraken-fastkey + orjson": 0.92,
        "azure-core": 1 / 0.30,
        "httpx + authlib": 4.0,
    }
    calls = {
        way: {
            name: {kind: [cost * slow for slow in (1.0, 2.0, 4.0)] for kind in ("cpu", "clock")}
            for name, cost in costs.items()
        }
        for way in ("one task", "100 tasks")
    }
    return {
        "calls": calls,
        "imports": {"needed": [{"cpu": 1.0}] * 3, "client": [{"cpu": 1.1}] * 3},
        "accounts": {
            "1,000": [{"bytes": 0.0, "seconds": 0.02}] * 3,
            "100,000": [{"bytes": 1024.0, "seconds": 2.0}] * 3,
        },
        "growth": {"calls": 1_000_000, "after_first": 5.0, "most": 5.0 + 2**20, "at_end": 0.0},
        "size": {"bytes": 1_000_000, "packages": []},
        **replaced,
    }


def test_goals_that_are_just_reached() -> None:
    """All are, and each round is compared to the same round of the other."""
    verdicts = {verdict.name: verdict for verdict in goals.judge(_results())}
    assert {True} == {verdict.reached for verdict in verdicts.values()}
    assert pytest.approx([0.25] * 3) == verdicts["CPU of a call, 100 tasks: kraken-fastkey / httpx + authlib"].values
    assert {
        "name": "calls in a second, 100 tasks: kraken-fastkey / bare aiohttp + json",
        "goal": ">= 1.00",
        "reached": True,
        "median": 1.0,
        "quartiles": (1.0, 1.0),
        "rounds": [1.0, 1.0, 1.0],
    } == verdicts["calls in a second, 100 tasks: kraken-fastkey / bare aiohttp + json"].to_json()


@pytest.mark.parametrize(
    ("replaced", "missed"),
    [
        (
            {"imports": {"needed": [{"cpu": 1.0}] * 3, "client": [{"cpu": cpu} for cpu in (1.0, 1.2, 1.2)]}},
            "CPU of import and a client / import aiohttp, attrs, cattrs",
        ),
        ({"imports": {"needed": [{"cpu": 1.0}] * 3, "client": [{"cpu": cpu} for cpu in (1.0, 1.0, 1.2)]}}, None),
        (
            {"growth": {"calls": 1_000_000, "after_first": 0.0, "most": 2.0**20 + 1024, "at_end": 0.0}},
            "memory after 1,000,000 calls, less that after 10,000, KiB",
        ),
        (
            {"growth": {"calls": 1_000_000, "after_first": 0.0, "most": 0.0, "at_end": 2.0**20 + 1024}},
            "memory after 1,000,000 calls, less that after 10,000, KiB",
        ),
        ({"size": {"bytes": 1_000_001, "packages": []}}, "installed size, bytes"),
        ({"size": {"bytes": 1, "packages": ["orjson"]}}, "packages beside aiohttp, attrs and cattrs"),
    ],
)
def test_a_goal_is_missed_by_its_median(replaced: dict[str, Any], missed: str | None) -> None:
    """What is beyond a goal in most rounds misses it, and no other one."""
    names = [verdict.name for verdict in goals.judge(_results(**replaced)) if not verdict.reached]
    assert ([missed] if missed else []) == names


@pytest.mark.parametrize("growth", [None, {"calls": 999_999, "after_first": 0.0, "most": 0.0, "at_end": 0.0}])
def test_what_was_not_measured_is_neither_reached_nor_missed(growth: dict[str, Any] | None) -> None:
    """Without a million calls, nothing is said of what memory does after them."""
    (verdict,) = (verdict for verdict in goals.judge(_results(growth=growth)) if verdict.reached is None)
    assert "memory after 1,000,000 calls, less that after 10,000, KiB" == verdict.name
    assert (None, None, []) == (verdict.median, verdict.spread, verdict.values)


def test_fewer_calls_a_second_miss_their_goal() -> None:
    """More is better there, unlike with all others."""
    results = _results()
    results["calls"]["100 tasks"]["kraken-fastkey"]["clock"] = [1.1, 2.2, 4.4]
    (verdict,) = (verdict for verdict in goals.judge(results) if not verdict.reached)
    assert (">= 1.00", 0.91) == (verdict.goal, round(verdict.median or 0, 2))


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("--rounds", "1", "must be 2 or more"),
        ("--calls", "0", "must be 1 or more"),
        ("--growth", "10000", "must be more than 10,000"),
    ],
)
def test_numbers_that_measure_nothing_are_refused(option: str, value: str, fault: str) -> None:
    """Before anything is measured, and not after minutes."""
    command = [sys.executable, "-m", "benchmarks", option, value]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    assert f"error: {option}: {fault}" in done.stderr
