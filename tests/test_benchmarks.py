"""The benchmarks compare like with like: all contenders send the same, and make the same of the answer."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import answering, http

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.processes import Subject, serving  # noqa: E402  # it is not installed
from benchmarks.server import KEY  # noqa: E402
from benchmarks.subjects import LIFE, SUBJECTS, TOKEN, Key, make_key  # noqa: E402

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
