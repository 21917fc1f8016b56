"""Faults that services like Kraken are known for, ready-made and by name."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from kraken_fastkey.sandbox._faults import (
    GATEWAY_TIMEOUT,
    Answer,
    Disconnect,
    Drip,
    Fault,
    Hang,
    LateCommit,
    MediaType,
    Reset,
    Truncate,
)

# The largest answer that a client should have to take is smaller.
_OVERSIZED: Final = 2**20 + 1
# Deeper than any interpreter's stack.
_DEPTH: Final = 100_000
# Reserved for those who want to reach nobody (RFC 2606 section 2).
_ELSEWHERE: Final = "https://elsewhere.invalid/oauth/fast-api-key"

_JSON: Final = {"Content-Type": "application/json"}
_HTML: Final = {"Content-Type": "text/html"}
_CLOUDFLARE: Final = {
    "Content-Type": "text/html; charset=UTF-8",
    "Server": "cloudflare",
    "CF-Ray": "8f1c2d3e4a5b6c7d-FRA",
    "Cache-Control": "no-store",
}

_RETRY_AFTER: Final = {
    "seconds": "7",
    "zero": "0",
    "fraction": "1.5",
    "negative": "-5",
    "huge": "9" * 30,
    "past_date": "Wed, 21 Oct 2015 07:28:00 GMT",
    "future_date": "Fri, 31 Dec 2100 23:59:59 GMT",
    "garbage": "in a while",
    "empty": "",
}

_KRAKEN_REFUSALS: Final = {
    "rate_limit": ["EAPI:Rate limit exceeded"],
    "too_many_requests": ["EGeneral:Too many requests"],
    "temporary_lockout": ["EGeneral:Temporary lockout"],
    "permission_denied": ["EGeneral:Permission denied"],
    "invalid_arguments": ["EGeneral:Invalid arguments"],
    "several": ["EGeneral:Invalid arguments:permissions", "EGeneral:Permission denied"],
}

# After these, nobody can say whether the work was done.
_KRAKEN_FAILURES: Final = {
    "internal": ["EGeneral:Internal error"],
    "unavailable": ["EService:Unavailable"],
    "busy": ["EService:Busy"],
    "timeout": ["EService:Timeout"],
    "unknown": ["ESandbox:No such error"],
    "not_a_string": [{"code": 17}],
}

_UNREADABLE: Final[Mapping[str, Answer]] = {
    "empty_body": Answer(200, headers=_JSON),
    "garbage": Answer(200, bytes(range(128, 256)), headers=_JSON),
    "html": Answer(200, "<html><body>Welcome</body></html>", headers=_HTML),
    "json_null": Answer(200, None),
    "json_list": Answer(200, []),
    "json_text": Answer(200, b'"true"', headers=_JSON),
    "json_nan": Answer(200, b'{"result": NaN}', headers=_JSON),
    "empty_object": Answer(200, {}),
    "wrong_result": Answer(200, {"result": 17}),
    "nested": Answer(200, b"[" * _DEPTH + b"]" * _DEPTH, headers=_JSON),
    "oversized": Answer(200, b'{"result": "%s"}' % (b"x" * _OVERSIZED), headers=_JSON),
}


def _page(title: str) -> str:
    """Return a page as proxies make it."""
    return f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>\n"


_FAILURES: Final[Mapping[str, Answer]] = {
    "500_json": Answer(500, {"error": ["EGeneral:Internal error"]}),
    "500_empty": Answer(500),
    "502_html": Answer(502, _page("502 Bad Gateway"), headers=_HTML),
    "503_html": Answer(503, _page("503 Service Temporarily Unavailable"), headers=_HTML),
    "503_json": Answer(503, {"error": ["EService:Unavailable"]}),
    "503_retry_after": Answer(503, _page("503 Service Temporarily Unavailable"), headers={**_HTML, "Retry-After": "7"}),
    "504_html": GATEWAY_TIMEOUT,
    "520_cloudflare": Answer(520, _page("520: Web server is returning an unknown error"), headers=_CLOUDFLARE),
    "524_cloudflare": Answer(524, _page("524: A timeout occurred"), headers=_CLOUDFLARE),
}


def _answers() -> Iterator[tuple[str, Answer]]:
    """Make the answers that say that the work was not done."""
    limit = {"error": ["EAPI:Rate limit exceeded"]}
    yield "429", Answer(429, limit)
    for name, value in _RETRY_AFTER.items():
        yield f"429_{name}", Answer(429, limit, headers={"Retry-After": value})
    yield "429_html", Answer(429, _page("429 Too Many Requests"), headers={**_CLOUDFLARE, "Retry-After": "7"})
    yield "403_cloudflare", Answer(403, _page("Attention Required! | Cloudflare"), headers=_CLOUDFLARE)
    for name, codes in _KRAKEN_REFUSALS.items():
        yield f"error_{name}", Answer(200, {"error": codes})
    for status in (301, 302, 303, 307, 308):
        yield f"redirect_{status}", Answer(status, headers={"Location": _ELSEWHERE})


def _ambiguous_answers() -> Iterator[tuple[str, Answer]]:
    """Make the answers after which the work may have been done, or not."""
    yield from _FAILURES.items()
    for name, codes in _KRAKEN_FAILURES.items():
        yield f"error_{name}", Answer(200, {"error": codes})
    yield "error_empty_list", Answer(200, {"error": []})
    yield "error_and_result", Answer(200, {"error": ["EGeneral:Internal error"], "result": True})
    yield from _UNREADABLE.items()


def _faults() -> Iterator[tuple[str, Fault]]:
    """Make every fault there is a name for."""
    yield from _answers()
    for name, answer in _ambiguous_answers():
        yield name, answer
        yield f"{name}_committed", attrs.evolve(answer, commit=True)
    yield "disconnect", Disconnect()
    yield "disconnect_committed", Disconnect(commit=True)
    yield "reset", Reset()
    yield "hang", Hang()
    yield "hang_committed", Hang(commit=True)
    yield "truncated_status", Truncate(7, head=True)
    yield "truncated_head", Truncate(40, head=True)
    yield "truncated_body", Truncate(10)
    yield "no_body", Truncate(0)
    yield "drip", Drip(16, 0.001)
    yield "wrong_media_type", MediaType("text/html")
    yield "late", LateCommit(30)
    yield "late_disconnect", LateCommit(30, Disconnect())


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(dict(_faults()))
"""Ready-made faults by name; with names that end in ``_committed``, the call's work is done first."""
