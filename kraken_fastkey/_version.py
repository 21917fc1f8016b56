"""The version. It comes from the repository's tags, and is kept in the metadata of what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("kraken-fastkey")
    except PackageNotFoundError:  # files that were copied, not installed
        return "0+unknown"


__version__: str = _installed()
