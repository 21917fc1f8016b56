"""What an import costs: `python -m benchmarks.importing STATEMENT`, in seconds of processor time, and modules."""

import json
import sys
import time

if __name__ == "__main__":
    before, started = len(sys.modules), time.process_time()
    exec(sys.argv[1])  # noqa: S102  # our own words
    print(json.dumps({"cpu": time.process_time() - started, "modules": len(sys.modules) - before}))
