"""What `kraken_fastkey.stores` exports: the stores of the core, and those that need an extra, when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kraken_fastkey import stores


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("SQLGrantStore", "sqlalchemy", "sql"),
        ("SQLKeyStore", "sqlalchemy", "sql"),
    ],
)
def test_a_store_of_an_extra_says_which(name: str, package: str, extra: str) -> None:
    """Without its package the rest can be imported, and the store says how to install it."""
    program = f"""
import sys
sys.modules[{package!r}] = None
from kraken_fastkey import stores
try:
    stores.{name}
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert f"it needs an extra: pip install 'kraken-fastkey[{extra}]'\n" == done.stdout


def test_all_are_there() -> None:
    """With the extras installed, each name is what it says, and imported once."""
    for name in stores.__all__:
        assert getattr(stores, name) is getattr(stores, name)


def test_nothing_else_is_there() -> None:
    """A name that is none is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'NoStore'"):
        _ = stores.NoStore
