"""Few names and many callers, who cross each other at random: create, save, change, rename, delete, and go away."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Final, Literal

import pytest
from virtual_time import VirtualTimeLoop, hurrying, run_virtually

from kraken_fastkey import (
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    Permissions,
    StaticTokenProvider,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey._janitor import Janitor, Removal
from kraken_fastkey.sandbox import Answer, Disconnect, Drip, Fault, Hang, KrakenSandbox, Truncate

Ending = Literal["settled", "amid"]

NAMES: Final = ("grid-bot", "dca-bot")
FUNDS: Final = Permissions(funds_query=True)  # all keys are alike, so that only their names and times tell them apart
CALLERS: Final = 5
CALLS: Final = 6  # of each
SETTLING: Final = 2500.0  # the client watches for half an hour
# No late commits: where a name is freed for others, they may make a key that the client can only tell of.
FAULTS: Final[tuple[Fault, ...]] = (
    Disconnect(commit=True),
    Disconnect(),
    Hang(commit=True),
    Hang(),
    Answer(502, commit=True),
    Answer(503),
    Truncate(5),
    Drip(20, 0.01),
    Drip(5, 0.2),
)


class Crossing:
    """One run, all of it from a seed.

    Attributes:
        received: The public halves of the keys that callers were given, or have stored.
        cleared_up: Those of the keys that the client has deleted on its own account.
    """

    def __init__(self, loop: VirtualTimeLoop, seed: int, ending: Ending, share: float) -> None:
        self._loop = loop
        self._rng = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._seed = seed
        self._ending = ending
        self._share = share
        lag = self._rng.choice((0.0, 0.0, 20.0, 45.0))
        self._sandbox = KrakenSandbox(clock=loop.wall_clock, seed=seed, list_lag=lag)
        self._names: defaultdict[str, set[str]] = defaultdict(set)  # that a key has had
        self._told: set[str] = set()
        self.received: set[str] = set()
        self.cleared_up: set[str] = set()

    async def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let them cross."""
        remove = Janitor.remove

        async def watched(janitor: Janitor, name: str, *arguments: object, **options: object) -> Removal:
            before = {key.api_key for key in self._sandbox.keys() if key.api_key_name == name}
            try:
                return await remove(janitor, name, *arguments, **options)  # type: ignore[arg-type]  # as it came
            finally:
                self.cleared_up |= before - {key.api_key for key in self._sandbox.keys()}

        monkeypatch.setattr(Janitor, "remove", watched)
        async with self._sandbox:
            provider = StaticTokenProvider(self._sandbox.issue_token())
            runtime = self._loop.runtime(self._seed)
            client = FastKeyClient(
                provider,
                base_url=self._sandbox.base_url,
                on_event=lambda _: self._note_names(),
                _runtime=runtime,
            )
            callers = [asyncio.create_task(self._be_a_caller(client)) for _ in range(CALLERS)]
            if self._ending == "amid":
                await asyncio.sleep(self._rng.choice((0, 1, 10, 30)))
                await client.aclose()
            await asyncio.gather(*callers)
            if self._ending == "settled":
                await asyncio.sleep(SETTLING)
            await client.aclose()
            self._told |= set(client.unsettled_keys)
            await asyncio.sleep(100)
            self._note_names()

    @property
    def orphans(self) -> list[str]:
        """The keys that are live, that no caller has, and that none was told of."""
        return [
            key.api_key_name
            for key in self._sandbox.keys()
            if key.api_key not in self.received and self._told.isdisjoint(self._names[key.api_key])
        ]

    def _note_names(self) -> None:
        for key in self._sandbox.keys():
            self._names[key.api_key].add(key.api_key_name)

    async def _be_a_caller(self, client: FastKeyClient) -> None:
        rng = self._rng
        for _ in range(CALLS):
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice((0, 0.5, 3, 20)))
            call = asyncio.create_task(self._call(client))
            if rng.random() < 0.35:
                await self._wait_a_little()
                call.cancel()
            await asyncio.wait({call})
            if not call.cancelled():
                call.result()

    async def _wait_a_little(self) -> None:
        if self._rng.random() < 0.3:
            await asyncio.sleep(self._rng.choice((0.05, 1, 10, 40)))
            return
        for _ in range(self._rng.randrange(45)):
            await asyncio.sleep(0)

    async def _call(self, client: FastKeyClient) -> None:
        rng = self._rng
        name, other = rng.sample(NAMES, 2)
        kinds = ("create", "save", "fail", "delete", "rename", "change")
        (kind,) = rng.choices(kinds, (5, 2, 2, 2, 1, 1))
        if rng.random() < self._share:
            operation = {"delete": "delete_key", "rename": "update_key", "change": "update_key"}.get(kind, "create_key")
            self._sandbox.faults.add(rng.choice(FAULTS), operation=operation)
        try:
            match kind:
                case "delete":
                    await client.delete_key(name)
                case "rename":
                    await client.update_key(UpdateKeyRequest(name, new_api_key_name=other))
                case "change":
                    await client.update_key(UpdateKeyRequest(name, nonce_window=rng.randrange(9)))
                case _:
                    await self._create(client, CreateKeyRequest(name, permissions=FUNDS), kind)
        except UnknownOutcomeError as error:
            self._told |= {name, str(error.api_key_name)}
        except (FastKeyError, OSError):
            pass

    async def _create(self, client: FastKeyClient, request: CreateKeyRequest, kind: str) -> None:
        async def save(key: FastApiKey) -> None:
            if self._rng.random() < 0.5:
                await asyncio.sleep(self._rng.choice((0, 1, 5)))
            if kind == "fail":
                await self._use(client, str(key.api_key_name))
                raise OSError("the disk is full")
            self.received.add(str(key.api_key))

        if self._rng.random() < 0.2:
            request = CreateKeyRequest(permissions=FUNDS)
        key = await client.create_key(request, save=None if kind == "create" else save)
        self.received.add(str(key.api_key))

    async def _use(self, client: FastKeyClient, name: str) -> None:
        """Do something with a key that is being saved."""
        match self._rng.randrange(8):
            case 0:
                await client.delete_key(name)
            case 1:
                await client.update_key(UpdateKeyRequest(name, new_api_key_name=self._rng.choice(NAMES)))
            case 2:
                await client.update_key(UpdateKeyRequest(name, new_api_key_name=f"renamed-{self._rng.random():.9f}"))
            case 3:
                await client.update_key(UpdateKeyRequest(name, nonce_window=3))
            case _:
                pass


@pytest.mark.parametrize(("ending", "share"), [("settled", 0.0), ("settled", 0.3), ("amid", 0.3)])
def test_whoever_crosses_whom_nobody_loses_a_key(ending: Ending, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key that a caller has is deleted as an orphan, and each that nobody has was told of."""
    received = cleared_up = 0
    for seed in range(150):

        async def main(loop: VirtualTimeLoop, seed: int = seed) -> Crossing:
            crossing = Crossing(loop, seed, ending, share)
            with monkeypatch.context() as patch:
                await crossing.run(patch)
            return crossing

        with hurrying():
            crossing = run_virtually(main)
        assert [] == crossing.orphans, f"seed {seed}"
        assert set() == crossing.received & crossing.cleared_up, f"seed {seed}"
        received += len(crossing.received)
        cleared_up += len(crossing.cleared_up)
    print(f"150 runs: {received} keys received, {cleared_up} deleted since nobody took them")
    assert received
    assert cleared_up
