"""One subject in a process of its own: `python -m benchmarks.subject NAME BASE_URL`.

Each line on the standard input is a number of calls and one of tasks; each on the standard output tells the seconds
of processor time that one call took, and those of the clock.
"""

import asyncio
import gc
import json
import sys
import time

if "orjson" not in sys.argv[1]:
    sys.modules["orjson"] = None  # type: ignore[assignment]  # who looks for it does not find it

from benchmarks.subjects import SUBJECTS, Call


async def _run(call: Call, calls: int, tasks: int) -> None:
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(work() for _ in range(tasks)))


async def _serve(name: str, base_url: str) -> None:
    loop = asyncio.get_running_loop()
    async with SUBJECTS[name](base_url) as call:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            calls, tasks = map(int, line.split())
            gc.collect()
            cpu, clock = time.process_time(), time.perf_counter()
            await _run(call, calls, tasks)
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            print(json.dumps({"cpu": cpu / calls, "clock": clock / calls}), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
