"""Whether memory grows with the number of calls: `python -m benchmarks.growth BASE_URL CALLS`.

Prints the resident memory after the first 10,000 calls, and after all of them, in bytes. Each call has a name of its
own, so that whatever is kept of one adds up.
"""

import asyncio
import gc
import json
import resource
import sys
from pathlib import Path
from typing import Final

from benchmarks.subjects import kraken_fastkey

_FIRST: Final = 10_000
_TASKS: Final = 100


async def _measure(base_url: str, calls: int) -> dict[str, float]:
    async with kraken_fastkey(base_url) as call:
        numbers = iter(range(calls))
        after_first = most = 0

        async def work() -> None:
            nonlocal after_first, most
            for number in numbers:
                await call(number)
                if number == _FIRST:
                    gc.collect()
                    after_first = most = _resident()
                elif number > _FIRST and number % 10_000 == 0:
                    most = max(most, _resident())

        await asyncio.gather(*(work() for _ in range(_TASKS)))
        gc.collect()
        return {"after_first": after_first, "most": most, "at_end": _resident()}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(sys.argv[1], int(sys.argv[2])))))
