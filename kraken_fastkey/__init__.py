"""An asyncio SDK for Kraken Connect's Fast API keys."""

__version__ = "0.1.0"
