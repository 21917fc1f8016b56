"""An embedded Kraken for tests: real HTTP on loopback, Kraken's rules, faults on demand.

It is written from Kraken's published description and shares no code with the client, so that a misreading on
one side is caught by the other.
"""

from kraken_fastkey.sandbox._account import SandboxKey
from kraken_fastkey.sandbox._fault_queue import Faults, PendingFault
from kraken_fastkey.sandbox._faults import (
    Answer,
    Disconnect,
    Drip,
    Fault,
    Hang,
    LateCommit,
    MediaType,
    OneOf,
    Reset,
    Truncate,
)
from kraken_fastkey.sandbox._grants import RevocationReason, SandboxGrant
from kraken_fastkey.sandbox._named_faults import FAULTS
from kraken_fastkey.sandbox._recording import RecordedRequest
from kraken_fastkey.sandbox._server import KrakenSandbox
from kraken_fastkey.sandbox._token_endpoint import TokenMediaType

__all__ = [
    "FAULTS",
    "Answer",
    "Disconnect",
    "Drip",
    "Fault",
    "Faults",
    "Hang",
    "KrakenSandbox",
    "LateCommit",
    "MediaType",
    "OneOf",
    "PendingFault",
    "RecordedRequest",
    "Reset",
    "RevocationReason",
    "SandboxGrant",
    "SandboxKey",
    "TokenMediaType",
    "Truncate",
]
