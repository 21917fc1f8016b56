"""For tests of your own, with pytest: fixtures with a Kraken in them, and the rules that a store must keep to.

As a plugin of pytest it brings fixtures whose names begin with `kraken_`: `pytest --fixtures` lists them. pytest finds
it by itself; where plugins are not loaded by themselves, write `pytest_plugins = ["kraken_fastkey.testing"]` in the
uppermost `conftest.py`.

To see whether a store of yours keeps to the rules, make a subclass with a fixture `make_store`, and let pytest run it:

    @pytest.mark.asyncio  # or @pytest.mark.anyio; not needed where pytest-asyncio's mode is "auto"
    class TestMyGrantStore(GrantStoreConformance):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda *, lock_timeout=30.0: MyGrantStore(tmp_path / "grant", lock_timeout=lock_timeout)

For a store of keys it is `KeyStoreConformance`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    import pytest  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "kraken_fastkey.testing is for tests with pytest, which is not installed: pip install pytest", name="pytest"
    ) from None

if TYPE_CHECKING:
    from kraken_fastkey.testing._clock import KrakenClock
    from kraken_fastkey.testing._grant_conformance import GrantStoreConformance, MakeGrantStore
    from kraken_fastkey.testing._key_conformance import KeyStoreConformance, MakeKeyStore

__all__ = ["GrantStoreConformance", "KeyStoreConformance", "KrakenClock", "MakeGrantStore", "MakeKeyStore"]

pytest_plugins: list[str] = ["kraken_fastkey.testing._plugin"]

if not TYPE_CHECKING:  # type checkers have the names from above, and know that there are no others
    _HOMES = {
        "GrantStoreConformance": "_grant_conformance",
        "KeyStoreConformance": "_key_conformance",
        "KrakenClock": "_clock",
        "MakeGrantStore": "_grant_conformance",
        "MakeKeyStore": "_key_conformance",
    }

    def __getattr__(name: str) -> Any:
        """Import a public name when it is asked for (PEP 562): pytest imports this module at each start."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
