"""`python -m kraken_fastkey`, which is `kraken-fastkey`."""

import sys

from kraken_fastkey.cli import main

if __name__ == "__main__":
    sys.exit(main())
