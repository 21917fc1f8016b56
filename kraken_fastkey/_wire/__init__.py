"""What goes over the wire, sans-I/O: a request object to bytes; a status, headers and bytes to an object or error.

Everything in this package is pure. Failures are returned, not raised: a traceback with locals of these
frames would show the answer's bytes, and a key's secret among them.
"""

from kraken_fastkey._wire.answers import Answer, Success, read_answer
from kraken_fastkey._wire.calls import (
    LIST_PATHS,
    Call,
    create_key,
    delete_key,
    get_user_info,
    list_keys,
    update_key,
)
from kraken_fastkey._wire.http import WireRequest, WireResponse, parse_date

__all__ = [
    "LIST_PATHS",
    "Answer",
    "Call",
    "Success",
    "WireRequest",
    "WireResponse",
    "create_key",
    "delete_key",
    "get_user_info",
    "list_keys",
    "parse_date",
    "read_answer",
    "update_key",
]
