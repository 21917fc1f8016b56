"""The sample service, as a process of its own against the sandbox: a login, keys that come and go, and SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import kraken_fastkey
from kraken_fastkey.sandbox import KrakenSandbox

pytest.importorskip("opentelemetry.sdk")
fernet = pytest.importorskip("cryptography.fernet")

SERVICE = Path(__file__).parent.parent / "examples/service/service.py"
CLIENT_SECRET = "FAKE-client-secret-0123456789"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Service:
    """The running service, as its browser and its supervisor see it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        async with self._session.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        async with self._session.post(self.url + path) as answer:
            return answer.status, await answer.json()

    async def log_in(self, sandbox: KrakenSandbox) -> tuple[int, Any]:
        """Go to Kraken, click Allow, and come back."""
        async with self._session.get(f"{self.url}/login", allow_redirects=False) as answer:
            assert 302 == answer.status
            url = answer.headers["Location"]
        async with self._session.get(sandbox.approve(url)) as answer:
            return answer.status, await answer.json() if answer.ok else await answer.text()

    async def wait_until_up(self) -> None:
        """Wait until it answers, or has ended."""
        while self.process.returncode is None:
            try:
                await self.get("/health")
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
            else:
                return
        raise AssertionError((await self.process.communicate())[1].decode())

    async def stop(self) -> tuple[str, str]:
        """Stop it as a supervisor does, and return what it has written."""
        self.process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        return out.decode(), err.decode()


@asynccontextmanager
async def running(sandbox: KrakenSandbox, folder: Path, port: int, key: str) -> AsyncIterator[Service]:
    """Start the service, and see to it that it ends."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KRAKEN")},
        "KRAKEN_CLIENT_ID": "service",
        "KRAKEN_CLIENT_SECRET": CLIENT_SECRET,
        "KRAKEN_FASTKEY_ENCRYPTION_KEY": key,
        "KRAKEN_BASE_URL": sandbox.base_url,
        "KRAKEN_API_URL": sandbox.api_url,
        "KRAKEN_AUTHORIZE_URL": sandbox.authorize_url,
        "KRAKEN_TOKEN_URL": sandbox.token_url,
        "STATE_DIRECTORY": str(folder / "state"),
        "PORT": str(port),
        # The package that is tested, wherever another one may be installed.
        "PYTHONPATH": str(Path(kraken_fastkey.__file__).parent.parent),
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", str(SERVICE), env=environment, stdout=pipe, stderr=pipe
    )
    # A jar of its own takes the cookies of an address, too.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        service = Service(process, f"http://127.0.0.1:{port}", session)
        try:
            await service.wait_until_up()
            yield service
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


def _names(sandbox: KrakenSandbox) -> list[str]:
    return [key.api_key_name for key in sandbox.keys()]


async def test_the_service_from_login_to_sigterm(sandbox: KrakenSandbox, tmp_path: Path) -> None:
    """It logs in, serves the balance through a rotation and a deleted key, tells all of it, and leaves no key."""
    port, key = _free_port(), fernet.Fernet.generate_key().decode()
    sandbox.register_client("service", CLIENT_SECRET, redirect_uris=[f"http://127.0.0.1:{port}/callback"])
    secrets: set[str] = {CLIENT_SECRET, key}
    async with running(sandbox, tmp_path, port, key) as service:
        status, told = await service.get("/health")
        assert (503, "closed", True) == (status, told["lease"], told["log_in"])
        assert (503, "LeaseExpiredError") == _error_of(await service.get("/balance"))

        assert (200, {"connected": True}) == await service.log_in(sandbox)
        status, told = await service.get("/health")
        assert (200, "valid", False, _names(sandbox)) == (status, told["lease"], told["log_in"], [told["api_key_name"]])
        assert (200, dict(sandbox.balances)) == await service.get("/balance")

        first = _names(sandbox)
        secrets |= {live.secret for live in sandbox.keys()}
        status, told = await service.post("/rotate")
        assert (200, {*first, told["api_key_name"]}) == (status, set(_names(sandbox)))
        assert [told["api_key_name"]] != first
        secrets |= {live.secret for live in sandbox.keys()}
        assert (200, dict(sandbox.balances)) == await service.get("/balance")

        sandbox.revoke_key(told["api_key_name"])
        assert (200, dict(sandbox.balances)) == await service.get("/balance")
        status, now = await service.get("/health")
        assert (200, "valid") == (status, now["lease"])
        assert now["api_key_name"] in _names(sandbox)
        assert now["api_key_name"] not in {*first, told["api_key_name"]}
        secrets |= {live.secret for live in sandbox.keys()}
        out, err = await service.stop()
    assert 0 == service.process.returncode, err
    assert [] == _names(sandbox)

    spans = re.findall(r'^    "name": "([^"]+)"', out, re.MULTILINE)
    assert {"kraken_fastkey.lease.rotation", "kraken_fastkey.create_key", "kraken_fastkey.delete_key", "POST"} <= set(
        spans
    )
    assert {"kraken_fastkey.lease.rotations", "http.client.request.duration"} <= set(
        re.findall(r'"name": "([^"]+)",\s+"description"', out)
    )
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    logged = [line.get("kraken_fastkey_event") for line in lines]
    assert 3 == logged.count("kraken_fastkey.lease.make")
    assert {"kraken_fastkey.lease.refuse", "kraken_fastkey.lease.delete"} <= set(logged)
    assert [] == [line for line in err.splitlines() if not line.startswith("{")]
    secrets |= {grant.access_token for grant in sandbox.grants()}
    secrets |= {str(grant.refresh_token) for grant in sandbox.grants()}
    assert [] == [secret for secret in secrets if secret in out + err]


async def test_the_service_starts_again_without_a_login(sandbox: KrakenSandbox, tmp_path: Path) -> None:
    """Killed, it leaves its key, which the next start takes out of the file; it needs no login then."""
    port, key = _free_port(), fernet.Fernet.generate_key().decode()
    sandbox.register_client("service", CLIENT_SECRET, redirect_uris=[f"http://127.0.0.1:{port}/callback"])
    async with running(sandbox, tmp_path, port, key) as service:
        assert (200, {"connected": True}) == await service.log_in(sandbox)
        service.process.kill()
        await service.process.communicate()
    left = _names(sandbox)
    assert 1 == len(left)
    async with running(sandbox, tmp_path, port, key) as service:
        assert (200, dict(sandbox.balances)) == await service.get("/balance")
        assert left == _names(sandbox)
        await service.stop()
    assert [] == _names(sandbox)


async def test_the_service_refuses_another_browser_s_callback(sandbox: KrakenSandbox, tmp_path: Path) -> None:
    """A callback in a browser that has begun no login is refused, and so is one that the user has denied."""
    port, key = _free_port(), fernet.Fernet.generate_key().decode()
    sandbox.register_client("service", CLIENT_SECRET, redirect_uris=[f"http://127.0.0.1:{port}/callback"])
    async with running(sandbox, tmp_path, port, key) as service:
        async with aiohttp.ClientSession() as other:
            async with other.get(f"{service.url}/login", allow_redirects=False) as answer:
                url = answer.headers["Location"]
        async with service._session.get(sandbox.approve(url)) as answer:
            assert 400 == answer.status
        async with service._session.get(f"{service.url}/login", allow_redirects=False) as answer:
            url = answer.headers["Location"]
        async with service._session.get(sandbox.deny(url)) as answer:
            assert 403 == answer.status
            assert "access_denied" in await answer.text()
        assert [] == _names(sandbox)
        await service.stop()


def _error_of(answer: tuple[int, Any]) -> tuple[int, str]:
    status, told = answer
    return status, told["error"]
