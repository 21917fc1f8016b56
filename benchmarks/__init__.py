"""What the library costs, beside bare aiohttp and others that do the same work: `python -m benchmarks`."""
