"""The soak: thousands of keys through every fault the sandbox has, and then the books are balanced.

`python -m soak --help` says how to run it; `nox -s soak` does.
"""
