"""The ready-made faults: each does what its name and the documentation's table say."""

import asyncio
import email.utils
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from sandbox_kit import Answered, Kit, running

import kraken_fastkey
from kraken_fastkey.sandbox import FAULTS, Answer, Disconnect, Fault, Hang, KrakenSandbox, LateCommit, OneOf

ANSWERS = {name: fault for name, fault in FAULTS.items() if isinstance(fault, Answer)}
PAGE = Path(kraken_fastkey.__file__).parent.parent / "docs" / "reference" / "sandbox.md"


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def met(kit: Kit, fault: Fault) -> Answered | None:
    """Create a key with a fault, and return the answer; ``None`` if none came whole."""
    kit.sandbox.faults.add(fault, operation="create_key")
    body = json.dumps({"api_key_name": "bot"}).encode()
    caller = asyncio.create_task(kit.exchange("POST", "/fast-api-key", body=body))
    if isinstance(fault, Hang):
        while not (kit.sandbox.requests and kit.sandbox.requests[0].body):
            await asyncio.sleep(0)
        caller.cancel()
    try:
        return await caller
    except (aiohttp.ClientError, asyncio.CancelledError):
        return None


@pytest.mark.parametrize("name", FAULTS)
async def test_named_fault(kit: Kit, name: str) -> None:
    """Each happens over real HTTP, does the work if it says so, and leaves the sandbox fit for the next request."""
    fault = FAULTS[name]
    assert not isinstance(fault, OneOf)
    answered = await met(kit, fault)
    assert (["bot"] if fault.commit else []) == kit.names()
    if isinstance(fault, Answer):
        assert answered is not None
        assert (fault.status, fault.rendered()) == (answered.status, answered.body)
        assert set(fault.headers.items()) <= set(answered.headers.items())
    assert 200 == await kit.try_create("another")
    kit.clock.now += 30
    # Only what is late comes now.
    assert (fault.commit or isinstance(fault, LateCommit)) == ("bot" in kit.names())


def test_names_tell_of_the_work() -> None:
    """Whatever leaves the outcome open is there with the work done and without, and differs in nothing else."""
    committed = {name for name in FAULTS if name.endswith("_committed")}
    assert len(committed) > 20
    for name in committed:
        without, with_ = FAULTS[name.removesuffix("_committed")], FAULTS[name]
        assert isinstance(with_, Answer | Disconnect | Hang)
        assert isinstance(without, type(with_))
        assert (False, True) == (without.commit, with_.commit)
        assert repr(without) == repr(with_).replace("commit=True", "commit=False")
    for name in set(ANSWERS) - committed:
        assert not ANSWERS[name].commit


def test_nobody_can_change_them() -> None:
    """The mapping is read-only."""
    with pytest.raises(TypeError):
        FAULTS["429"] = Hang()  # type: ignore[index]


@pytest.mark.parametrize("name", [name for name in ANSWERS if re.match(r"\d{3}", name)])
def test_names_that_begin_with_a_status(name: str) -> None:
    """A name that begins with a status is of an answer with that status."""
    assert int(name[:3]) == ANSWERS[name].status


def retry_after(name: str) -> str:
    """Return what a named answer says of how long to wait."""
    return ANSWERS[name].headers["Retry-After"]


def test_each_kind_of_retry_after() -> None:
    """Seconds, dates of the past and the future, and what is neither."""
    assert "Retry-After" not in ANSWERS["429"].headers
    assert re.fullmatch("[1-9]", retry_after("429_seconds"))
    assert 0 == int(retry_after("429_zero"))
    assert int(retry_after("429_negative")) < 0
    assert int(retry_after("429_huge")) > 10**20
    assert not float(retry_after("429_fraction")).is_integer()
    assert "" == retry_after("429_empty")
    for name, year in (("429_past_date", 2015), ("429_future_date", 2100)):
        moment = email.utils.parsedate_to_datetime(retry_after(name))
        assert year == moment.year
        assert email.utils.format_datetime(moment, usegmt=True) == retry_after(name)
    with pytest.raises(ValueError):
        email.utils.parsedate_to_datetime(retry_after("429_garbage"))


def test_pages_of_proxies() -> None:
    """What ends in html is HTML, and Cloudflare signs its own."""
    for name, answer in ANSWERS.items():
        if "html" in name or "cloudflare" in name:
            assert answer.headers["Content-Type"].startswith("text/html")
            assert answer.rendered().startswith(b"<html>")
        if "cloudflare" in name:
            assert re.fullmatch("[0-9a-f]{16}-[A-Z]{3}", answer.headers["CF-Ray"])


def test_errors_in_krakens_shape() -> None:
    """What begins with error is said with status 200, as Kraken does."""
    errors = {name: answer for name, answer in ANSWERS.items() if name.startswith("error_")}
    assert len(errors) > 10
    for answer in errors.values():
        assert (200, "application/json") == (answer.status, answer.media_type)
        assert "error" in json.loads(answer.rendered())


def test_unreadable_answers() -> None:
    """Too large is larger than a mebibyte and otherwise well; too deep is deeper than Python can read."""
    oversized = ANSWERS["oversized"].rendered()
    assert len(oversized) > 2**20
    assert json.loads(oversized)
    with pytest.raises(RecursionError):
        json.loads(ANSWERS["nested"].rendered())
    for name in ("garbage", "html", "empty_body"):
        with pytest.raises(ValueError):
            json.loads(ANSWERS[name].rendered())


def test_redirects_lead_elsewhere() -> None:
    """A redirect leads to another origin, one that is nobody's."""
    redirects = {name: answer for name, answer in ANSWERS.items() if name.startswith("redirect_")}
    assert {301, 302, 303, 307, 308} == {answer.status for answer in redirects.values()}
    for name, answer in redirects.items():
        assert name == f"redirect_{answer.status}"
        assert re.match(r"https://[a-z]+\.invalid/", answer.headers["Location"])


def test_documentation_has_each() -> None:
    """The table in the documentation has every name, once; a name with ``_committed`` goes with its like."""
    section = PAGE.read_text(encoding="utf-8").partition("### Ready-made\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    documented: list[str] = []
    for names, _, committed in rows:
        found = re.findall(r"`([^`]+)`", names)
        documented += found
        if "`_committed`" in committed:
            documented += [f"{name}_committed" for name in found]
    assert sorted(FAULTS) == sorted(documented)


def test_every_sandbox_can_share_them() -> None:
    """The values hold no state of a sandbox."""
    first, second = KrakenSandbox(), KrakenSandbox()
    for sandbox in (first, second):
        sandbox.faults.script(None, FAULTS.values())
    assert first.faults.pending == second.faults.pending
