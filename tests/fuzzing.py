"""Fuzzed answers, callbacks, records and HTTP by the hundred thousand, and what must hold of whatever comes of them.

Seeded, so that a run can be repeated. As a program, `python tests/fuzzing.py --answers 1000000 --seed 7`, it uses
every core; tests/test_fuzz.py runs a smaller number.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlencode

import attrs
from strategies import CALLS, NOW, SECRET, created, leaks

from kraken_fastkey import (
    ApiError,
    FastApiKey,
    FastKeyError,
    KeyInfo,
    OAuthClient,
    ReauthorizationRequiredError,
    RetryPolicy,
    SecretStr,
    StoreError,
    UserInfo,
)
from kraken_fastkey._grant import Grant, grant_from_bytes, grant_to_bytes
from kraken_fastkey._oauth import AuthorizationRequest
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._wire import Success, WireRequest, WireResponse, read_answer
from kraken_fastkey._wire.http import Completeness
from kraken_fastkey._wire.token import TokenOperation, refresh_request

ACCESS: Final = "FAKEaccess0Token1that2Opens3nothing4At5all6AbCdEfGh"
REFRESH: Final = "FAKErefresh9Token8that7Opens6nothing5At4all3IjKlMn"
SECRETS: Final = (SECRET, ACCESS, REFRESH)
"""What no error may show. Each is in many of the answers."""

TOKEN_OPERATIONS: Final[tuple[TokenOperation, ...]] = ("refresh", "exchange_code")
OPERATIONS: Final = (*CALLS, *TOKEN_OPERATIONS)
# The answer to a create holds a secret that is shown once, so it gets most of the attention.
_DEALT: Final = (*OPERATIONS, *["create_key"] * 4, *["refresh"] * 2)
SHARD: Final = 10_000
"""So many answers come of one seed; a run of more has a seed for each."""

MAX_MESSAGE: Final = 1000
MAX_SECONDS: Final = 0.1

_TOKENS: Final[Mapping[str, Any]] = {
    "access_token": ACCESS,
    "token_type": "bearer",
    "expires_in": 14400,
    "refresh_token": REFRESH,
    "scope": "account.info:basic account.fast-api-key:write",
}
_GOOD: Final[Mapping[str, Sequence[object]]] = {
    "create_key": [
        {"error": [], "result": created()},
        {"result": {"secret": SECRET, "api_key": "FAKE-public-half"}},
        {"error": ["WDatabase:No change"], "result": created()},
    ],
    "update_key": [{"result": True}, {"error": []}, {"error": [], "result": None}],
    "delete_key": [{"result": True}, {"error": []}, {"error": [], "result": None}],
    "list_keys": [
        {"error": [], "result": [created(), {"api_key_name": "b", "created_time": "2027-01-15T07:59:59Z"}]},
        {"result": [created(secret=None, nonce=None)]},
        {"result": []},
    ],
    "get_user_info": [{"result": {"email": "fake@example.org", "iban": "FAKE IIBAN", SECRET: SECRET}}, {"result": {}}],
    "refresh": [_TOKENS, _TOKENS, {"access_token": ACCESS}, dict.fromkeys(_TOKENS, ACCESS)],
    "exchange_code": [_TOKENS, {"access_token": ACCESS, "expires_in": "14400", "scope": ""}],
}
_ERRORS: Final = [
    "EAPI:Bad request",
    "EAPI:Invalid key",
    "EAPI:Rate limit exceeded",
    "EAccount:Invalid permissions",
    "EAccount:Too many API keys",
    "EAuth:Rate limit exceeded",
    "EAuth:Too many requests",
    "EDatabase:Internal error",
    "EGeneral:Internal error",
    "EGeneral:Internal error:" + SECRET,
    "EGeneral:Invalid arguments",
    "EGeneral:Invalid arguments:api_key_name already exists",
    "EGeneral:Invalid arguments:key not found",
    "EGeneral:Permission denied",
    "EGeneral:Temporary lockout",
    "EGeneral:Unknown error",
    "EGeneral:Unknown method",
    "EService:Busy",
    "EService:Throttled",
    "EService:Throttled: 1800000003",
    "EService:Throttled: 99999999999.999999999",
    "EService:Unavailable",
    "ESession:Invalid session",
    "ENewToUs:Of tomorrow",
    "WDatabase:No change",
    "W" * 300 + ":",
    "access_denied",
    "insufficient_scope",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_token",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    SECRET,
    "",
    "E",
    "E\x1b[31m:\r\nSet-Cookie",
    "E\ud800:\u202e\u2028x",
    "name" * 100,
    "key " * 100,
]
_DUPLICATES: Final = b'{"secret":"","secret":"%s","api_key":null,"api_key":"a"}' % SECRET.encode()
# JSON, and what only looks like it, to stand where a value stood.
_LITERALS: Final[list[bytes]] = [
    *(b"null", b"true", b"false", b"[]", b"{}", b'""', b'" "', b"[null]", b"[[]]", b"[{}]", b'{"":null}'),
    *(b"0", b"-0", b"-0.0", b"1", b"-1", b"0.5", b"5.0", b"1e3", b"1e400", b"-1e400", b"1e308", b"-1e308", b"1e-400"),
    *(b"-1e15", b"1e15", b"253402300799", b"253402300800", b"-62135596801", b"1799999999000", b"18446744073709551616"),
    *(b"9" * 400, b"-" + b"9" * 400, b"9" * 4300, b"9" * 4301, b"0." + b"9" * 5000, b"NaN", b"Infinity", b"-Infinity"),
    *(b"01", b"1.", b".5", b"+1", b"0x10", b"nul", b"'a'", b'"', b'"\\', b'"\\u12', b"\xff", b'"\xff"', b"\0", b","),
    *(b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\\u001b[31m"', b'"\\u202e\\u2028\\u2029"', b'"\x1b[31m"'),
    *(b'"%s"' % (b"long " * 400), b'"%s"' % (b"x" * 2000), b'"\\ud83d\\ude00"', '"Ünï€ödé🔑"'.encode(), b'"a\\nb"'),
    *(b"[" * 50 + b"]" * 50, b"[" * 400 + b"]" * 400, b'{"a":' * 300 + b"1" + b"}" * 300, b"[" * 5000, b'[{"":' * 3000),
    *(b"[1,2,3]", b'["a",1,null]', b'["203.0.113.7"]', b'"203.0.113.7"', b'[["203.0.113.7"]]', b'{"0":"203.0.113.7"}'),
    *(
        b'{"funds_withdraw":true}',
        b'{"funds_withdraw":"true"}',
        b'{"funds_withdraw":1}',
        b'{"x y":true}',
        b'{"z":null}',
    ),
    *(b'"1799999999"', b'"0"', b'"99999999999999999999"', b'"2027-01-15T07:59:59Z"', b'"0001-01-01T00:00:00+23:59"'),
    *(b'"20270115"', b'"2027-W02-5"', b'"2027-01-15T24:00"', b'"-5"', b'"1e9"', b'"nan"', b'"\\u0661"', b'"14400.5"'),
    *(b'"mac"', b'"Bearer"', b'"two words"', b'"standard"', b'"/\\u002f%2F"', b'"%s"' % (b"9" * 5000)),
    *(b'{"secret":"%s"}' % SECRET.encode(), b'["%s"]' % SECRET.encode(), b'"%s"' % SECRET.encode(), _DUPLICATES),
    *(b'"%s"' % ACCESS.encode(), b'{"%s":"%s"}' % (REFRESH.encode(), ACCESS.encode()), b'"%s %s"' % (b"a", b"b")),
    *(json.dumps(error).encode() for error in _ERRORS),
    *(json.dumps([error]).encode() for error in _ERRORS),
    json.dumps(_ERRORS).encode(),
]
_NAMES: Final = [
    *("secret", "api_key", "api_key_name", "error", "errors", "result", "error_description", "unknown", "permissions"),
    *(
        "created_time_raw",
        "modified_time",
        "ip_allowlist",
        "valid_until",
        "access_token",
        "refresh_token",
        "token_type",
    ),
    *("expires_in", "scope", "", " ", "__class__", "self", "funds_withdraw", "a b", "\x1b[31m", "\ud800", SECRET),
    *("_raw", "x" * 300, "$.result.secret", "secret: must", "Secret", "\u0455ecret", "0", "null"),
]
_KEYS: Final = [*(json.dumps(name).encode() for name in _NAMES), b"null", b"5", b"unquoted", b'"open']
_TEXTS: Final[list[bytes]] = [
    *(b"", b" \r\n", b"\xef\xbb\xbf", b"ok", b"upstream connect error or disconnect", b"error code: 1020"),
    b"<html><head><title>502 Bad Gateway</title></head><body>" + SECRET.encode() + b"</body></html>",
    b"<title>" + SECRET.encode() + b"</title>",
    b"<title>&#" + b"1" * 5000 + b";</title>",
    b"<title>&#x110000;&#0;&#55296;&amp;lt;&nbsp;&NotAnEntity;</title>",
    b"<TITLE\n" * 300 + b">" + b"<title>" * 300,
    b"<?xml version='1.0'?><Error><Key>" + ACCESS.encode() + b"</Key></Error>",
    b"your token " + ACCESS.encode() + b" was refused",
    b"no secret=" + SECRET.encode() + b"&refresh_token=" + REFRESH.encode(),
    urlencode(_TOKENS).encode(),
    urlencode({"error": "invalid_grant", "error_description": SECRET}).encode(),
    b"access_token=" + ACCESS.encode() + b"&access_token=x",
    b"&".join(b"a%d=1" % i for i in range(60)),
    b"error=invalid_client&access_token=" + ACCESS.encode(),
    json.dumps({"result": created()}).encode("utf-16"),
    json.dumps({"result": created()}).encode("utf-32-le"),
    json.dumps(_TOKENS).encode("utf-16-be"),
    *(b"[" * 20_000, b'{"a":' * 20_000, b'"' * 9000, b'"\\' * 5000, b"\xff\xfe" * 100, b"\0" * 100, b"{" + b" " * 9000),
    b'{"error":[' + b'"E",' * 300 + b'"E"]}',
    b'{"result":[' + b"{}," * 300 + b"1]}",
    *(json.dumps({"error": error}).encode() for error in _ERRORS),
    *(json.dumps({"error": [error], "error_description": SECRET}).encode() for error in _ERRORS),
    *(json.dumps({"error": [error], "result": created()}).encode() for error in _ERRORS[:12]),
]
STATUSES: Final = (
    *(-1, 0, 99, 100, 101, 102, 199, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 307, 308),
    *(
        399,
        400,
        401,
        402,
        403,
        404,
        405,
        408,
        409,
        410,
        411,
        412,
        413,
        418,
        421,
        422,
        423,
        425,
        426,
        428,
        429,
        430,
        431,
    ),
    *(
        440,
        444,
        451,
        460,
        494,
        495,
        498,
        499,
        500,
        501,
        502,
        503,
        504,
        505,
        507,
        508,
        511,
        520,
        521,
        522,
        523,
        524,
        525,
    ),
    *(526, 527, 529, 530, 561, 598, 599, 600, 700, 999, 1000, 65536),
)
_HEADERS: Final[Mapping[str, Sequence[str]]] = {
    "content-type": [
        *("application/json", "application/json; charset=utf-8", "text/html", "text/html; charset=UTF-8", "text/plain"),
        *("application/x-www-form-urlencoded", "", ";", "text/html" * 500, "application/\x1b[31mjson", "\ud800", "İ/İ"),
    ],
    "retry-after": [
        *(
            "5",
            "0",
            "-1",
            "1e9",
            "0.5",
            "9" * 400,
            "9" * 5000,
            "nan",
            "inf",
            "\u0665",
            "soon",
            "",
            " 7 ",
            "5, 10",
            "0x10",
        ),
        *("Fri, 15 Jan 2027 08:00:10 GMT", "Fri, 32 Jan 2027 08:00:10 GMT", "Fri, 15 Jan 100000 08:00:10 GMT", "Fri,"),
        *("Fri, 15 Jan " + "9" * 5000 + " 08:00:10 GMT", "Fri, 15 Jan 2027 08:00:10 +99999999999", ",,,,,", "\udfff"),
        *("Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "1 Jan 0001 00:00:00 +2359", "Jan 1 1 1:1:1 -"),
    ],
    "date": [
        *("Fri, 15 Jan 2027 08:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "garbage", "", "\x00", "15 Jan 27 8 EST"),
        *(
            "31 Dec 9999 23:59:59 -2359",
            "1 Jan 0001 00:00:00 +2359",
            "Fri, 15 Jan 2027 08:00:00",
            ", , , , ,",
            "- - - - -",
        ),
    ],
    "cf-ray": ["8f2a1b-FRA", "\x1b[31m\r\nx", "r" * 9000, "\u202e", "", "\ud800"],
    "www-authenticate": ['Bearer error="invalid_token"', ACCESS],
    "location": ["https://evil.example/?" + ACCESS],
}


@attrs.frozen
class _Sample:
    """JSON as bytes, and where in it the values stand, the names, and the beginnings of objects."""

    body: bytes
    values: tuple[tuple[int, int], ...]
    names: tuple[tuple[int, int], ...]
    openings: tuple[int, ...]


def _sample(value: object) -> _Sample:
    out = bytearray()
    values: list[tuple[int, int]] = []
    names: list[tuple[int, int]] = []
    openings: list[int] = []

    def write(part: object) -> None:
        start = len(out)
        if isinstance(part, dict):
            out.extend(b"{")
            openings.append(len(out))
            for number, (name, inner) in enumerate(part.items()):
                out.extend(b", " if number else b"")
                names.append((len(out), len(out) + len(json.dumps(name))))
                out.extend(json.dumps(name).encode() + b": ")
                write(inner)
            out.extend(b"}")
        elif isinstance(part, list):
            out.extend(b"[")
            for number, inner in enumerate(part):
                out.extend(b", " if number else b"")
                write(inner)
            out.extend(b"]")
        else:
            out.extend(json.dumps(part).encode())
        values.append((start, len(out)))

    write(value)
    return _Sample(bytes(out), tuple(values), tuple(names), tuple(openings))


_SAMPLES: Final = {operation: tuple(map(_sample, bodies)) for operation, bodies in _GOOD.items()}
_ALL_BODIES: Final = (*(one.body for samples in _SAMPLES.values() for one in samples), *_TEXTS)


class Fuzzer:
    """Makes answers, callbacks, records and HTTP that are wrong in any way.

    Args:
        seed: Decides all that comes.
    """

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)  # noqa: S311  # repeatable
        self._headers = [self._make_headers() for _ in range(300)]

    def _pick(self, choices: Sequence[Any]) -> Any:
        # Half the cost of random.choice.
        return choices[int(self._rng.random() * len(choices))]

    def answer(self) -> tuple[str, WireResponse]:
        """Return an operation, and an answer to it."""
        chance = self._rng.random
        operation = self._pick(_DEALT)
        body = self._body(operation)
        status = 200
        if chance() < 0.4:
            status = self._pick(STATUSES) if chance() < 0.9 else self._rng.randint(-1, 1100)
        completeness: Completeness = "complete"
        if chance() < 0.06:
            completeness = "cut_off" if chance() < 0.5 else "too_large"
        return operation, WireResponse(status, self._pick(self._headers), body, completeness)

    def _body(self, operation: str) -> bytes:
        dice = self._rng.random()
        if dice < 0.05:
            return self._rng.randbytes(int(self._rng.random() * 300))
        if dice < 0.20:
            body: bytes = self._pick(_TEXTS)
            return body if dice < 0.12 else self.mutate(body)
        if dice < 0.26:
            return self.mutate(self._pick(_ALL_BODIES))
        sample: _Sample = self._pick(_SAMPLES[operation])
        if dice < 0.30:
            return sample.body
        if dice < 0.50:
            return self.mutate(sample.body)
        return self._replace(sample)

    def _replace(self, sample: _Sample) -> bytes:
        """Return JSON with values replaced, names changed, and members added."""
        changes: list[tuple[int, int, bytes]] = []
        for _ in range(1 + int(self._rng.random() * 3)):
            dice = self._rng.random()
            if dice < 0.7 or not sample.names:
                changes.append((*self._pick(sample.values), self._pick(_LITERALS)))
            elif dice < 0.82:
                changes.append((*self._pick(sample.names), self._pick(_KEYS)))
            else:
                place = self._pick(sample.openings)
                changes.append((place, place, b"%s:%s," % (self._pick(_KEYS), self._pick(_LITERALS))))
        changes.sort()
        pieces: list[bytes] = []
        end = 0
        for start, stop, literal in changes:
            if start >= end:  # else it lies in what is gone
                pieces += (sample.body[end:start], literal)
                end = stop
        return b"".join((*pieces, sample.body[end:]))

    def mutate(self, body: bytes) -> bytes:
        """Return bytes with some flipped, inserted, left out, doubled, cut off, or followed by others."""
        rng = self._rng
        out = bytearray(body)
        for _ in range(1 + int(rng.random() * 3)):
            place = int(rng.random() * (len(out) + 1))
            length = 1 + int(rng.random() ** 3 * 40)
            match int(rng.random() * 7):
                case 0 if place < len(out):
                    out[place] ^= 1 << int(rng.random() * 8)
                case 1:
                    out[place:place] = rng.randbytes(length)
                case 2:
                    del out[place : place + length]
                case 3:
                    out[place:place] = out[place : place + length]
                case 4:
                    del out[place:]
                case 5:
                    out[place:place] = self._pick(_LITERALS)
                case _:
                    other = self._pick(_ALL_BODIES)
                    out[place:] = other[int(rng.random() * (len(other) + 1)) :]
        return bytes(out)

    def _make_headers(self) -> Mapping[str, str]:
        names = [name for name in _HEADERS if self._rng.random() < 0.4]
        return {name: self._text(self._pick(_HEADERS[name])) for name in names}

    def _text(self, text: str) -> str:
        """Return a text, sometimes with a few characters changed."""
        if self._rng.random() < 0.7:
            return text
        letters = list(text)
        for _ in range(1 + int(self._rng.random() * 3)):
            place = int(self._rng.random() * (len(letters) + 1))
            letters[place : place + int(self._rng.random() * 3)] = self._pick(
                ["", " ", ",", ":", "-", "+", "9", "\0", "\n", "é", "\ud800", "\u202e", "GMT", "99", "&", "=", "%", "#"]
            )
        return "".join(letters)

    def http_answer(self) -> bytes:
        """Return what a server may write, its framing broken more often than not."""
        pick, chance = self._pick, self._rng.random
        operation, response = self.answer()
        body = response.body if chance() < 0.8 else self._body(operation)
        status = pick([b"HTTP/1.1 %d OK" % response.status] * 60 + _STATUS_LINES)
        lines = [status, *(f"{name}: {value}".encode("utf-8", "replace") for name, value in response.headers.items())]
        dice = chance()
        if dice < 0.5:
            lines.append(b"Content-Length: %d" % len(body))
        elif dice < 0.65:
            lines += pick(_LENGTHS)
        elif dice < 0.85:
            lines.append(b"Transfer-Encoding: chunked")
            cut = int(chance() * (len(body) + 1))
            sizes = pick([[b"%x" % cut, b"%x" % (len(body) - cut)]] * 3 + _CHUNK_SIZES)
            body = b"%s\r\n%s\r\n%s\r\n%s\r\n0\r\n\r\n" % (sizes[0], body[:cut], sizes[1], body[cut:])
        if chance() < 0.1:
            lines += pick(_FLOODS)
        if chance() < 0.5:
            lines.append(b"Connection: close")
        whole = pick([b"\r\n"] * 9 + [b"\n"]).join(lines) + b"\r\n\r\n" + body
        return self.mutate(whole) if chance() < 0.3 else whole

    def http_request(self, headers: Sequence[bytes]) -> bytes:
        """Return what a client may write to the sandbox.

        Args:
            headers: Headers that a good request has.
        """
        pick, chance = self._pick, self._rng.random
        body = pick(_REQUEST_BODIES)
        if chance() < 0.5:
            body = self.mutate(body)
        line = b"%s %s %s" % (pick(_METHODS), pick(_PATHS), pick([b"HTTP/1.1"] * 40 + [b"HTTP/1.0", b"HTTP/9.9", b""]))
        lines = [line, *(header for header in headers if chance() < 0.97)]
        lines.append(pick([b"Content-Type: application/json"] * 10 + _MEDIA_TYPES * 2))
        lines += pick([[b"Content-Length: %d" % len(body)]] * 60 + _LENGTHS)
        if chance() < 0.05:
            lines += pick(_FLOODS)
        whole = b"\r\n".join(lines) + b"\r\n\r\n" + body
        return self.mutate(whole) if chance() < 0.2 else whole

    def callback(self, request: AuthorizationRequest) -> str:
        """Return what a browser may come back to."""
        chance, pick = self._rng.random, self._pick
        state = request.state if chance() < 0.7 else pick([request.state[:-1], request.state.swapcase(), "", "x" * 43])
        fields = [("state", state), ("code", pick(_CODES))]
        for _ in range(int(chance() * 3)):
            fields.insert(int(chance() * 3), (pick(_FIELDS), pick([state, "FAKE-CODE", "access_denied", *_CODES])))
        if chance() < 0.2:
            del fields[int(chance() * len(fields))]
        quoted = chance() < 0.5
        query = "&".join(f"{name}={_quoted(value) if quoted else value}" for name, value in fields)
        start = pick([request.redirect_uri + "?"] * 4 + ["/callback?", "?", "", "//[", "http://[::1?", "\ud800?", "#?"])
        url = start + query + pick([""] * 6 + ["#", "#code=x", "&", "&" * 60, " ", "\n"])
        return self._text(url) if chance() < 0.5 else url

    def record(self) -> bytes:
        """Return what a store may hold in a grant's place."""
        sample: _Sample = self._pick(_RECORDS)
        dice = self._rng.random()
        if dice < 0.1:
            return self._rng.randbytes(int(self._rng.random() * 300))
        return self.mutate(sample.body) if dice < 0.4 else self._replace(sample)


def answers_of(seed: str, count: int) -> list[tuple[str, WireResponse]]:
    """Return the first answers of a seed, with their operations."""
    fuzzer = Fuzzer(seed)
    return [fuzzer.answer() for _ in range(count)]


_STATUS_LINES: Final = [
    *(b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 -1 x", b"HTTP/1.1 99999 x", b"HTTP/9.9 200 OK", b"ICY 200 OK"),
    *(b"HTTP/1.1 200 \xff\xfe", b"HTTP/1.1  200 OK", b"HTTP/1.1 2OO OK", b"", b"\0", b"HTTP/1.1 200 " + b"x" * 9000),
    *(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x"),
]
_LENGTHS: Final = [
    *([b"Content-Length: %s" % length] for length in (b"0", b"5", b"-1", b"99999", b"9" * 30, b"+5", b"0x5", b"five")),
    *([b"Content-Length: 5", b"Content-Length: 6"], [b"Content-Length: 5, 5"], [b"Content-Length:"], []),
    *([b"Content-Length: 5", b"Transfer-Encoding: chunked"], [b"Transfer-Encoding: gzip, chunked"]),
    *([b"Content-Encoding: gzip", b"Content-Length: 20"], [b"Content-Encoding: br"], [b"Content-Encoding: \xff"]),
]
_CHUNK_SIZES: Final = [
    *([b"-5", b"5"], [b"zz", b"0"], [b"", b""], [b"f" * 20, b"5"], [b"0", b"5"], [b"5;ext=" + b"x" * 9000, b"5"]),
]
_FLOODS: Final = [
    *([b"X: y"] * 1000, [b"X-Long: " + b"y" * 20_000], [b"x" * 9000 + b": y"], [b": y"], [b"X y"], [b" folded: x"]),
    *([b"X: \0"], [b"X: a\rb"], [b"X: \xff\x80"], [b"Set-Cookie: a=b; domain=evil.example"], [b"Connection: upgrade"]),
]
_METHODS: Final = [
    *([b"GET", b"POST", b"PUT", b"DELETE"] * 10),
    *(b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"get", b"", b"\xff"),
]
_PATHS: Final = [
    *([b"/oauth/fast-api-key", b"/oauth/fast-api-keys", b"/oauth/userinfo", b"/oauth/token", b"/oauth/authorize"] * 10),
    *(b"/de/oauth/authorize?client_id=x&redirect_uri=%ff", b"/oauth/authorize?" + b"a=b&" * 100, b"*", b"", b"/%00"),
    *(
        b"/oauth/token?x",
        b"http://evil.example/oauth/userinfo",
        b"http://[",
        b"/oauth/../oauth/userinfo",
        b"//",
        b"\xff",
    ),
    *(b"/oauth/authorize?scope=%F0%9F&state=%ed%a0%80", b"/openapi.json", b"/oauth/authorize?" + b"x" * 9000),
]
_MEDIA_TYPES: Final = [
    *(b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: text/plain; charset=\xff", b"X: y"),
    *(b"Content-Type: application/json; charset=utf-7", b"Content-Type: multipart/form-data; boundary=x"),
]
_REQUEST_BODIES: Final = [
    b'{"api_key_name": "bot"}',
    b'{"api_key_name": "bot", "permissions": {"funds_query": true}, "ip_allowlist": ["203.0.113.0/24"], "query_to": 0}',
    b'{"api_key_name": "bot", "new_api_key_name": "bat", "nonce_window": 10, "valid_until": 1800604800}',
    b"grant_type=refresh_token&refresh_token=FAKE",
    b"grant_type=authorization_code&code=FAKE&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb&client_id=x",
    *(b"", b"[" * 5000, b"9" * 5000, b'{"api_key_name": NaN}', b"%ff=%ed%a0%80&a=&=b&" * 9),
    *(b'{"api_key_name": %s}' % literal for literal in _LITERALS),
]
_CODES: Final = [
    *(["FAKE-CODE-0123456789-abcdefghij"] * 6),
    *("", "a b", "a%20b", "a+b", "%", "%ff", "%00", "%ed%a0%80", "\ud800", "é", "\x1b[31m", "a&b", "a;b", "a#b"),
    *("\u2100", "x" * 5000, "a\nb"),
]
_FIELDS: Final = [
    *("code", "state", "error", "iss", "error_description", "code%00", "CODE", " code", "co\tde", "state[]", "x"),
]
_ISSUED: Final = datetime(2027, 1, 15, 8, tzinfo=UTC)
GOOD_GRANT: Final = Grant(
    ACCESS, REFRESH, _ISSUED + timedelta(hours=4), "a b", issued_at=_ISSUED, generation=3, unknown={"later": [1]}
)
_ROTATION: Final = {"started_at": "2027-01-15T08:00:00+00:00", "owner": "host"}
_RECORDS: Final = [
    _sample(json.loads(grant_to_bytes(GOOD_GRANT)) | changes) for changes in ({}, {"rotation": _ROTATION})
]


def _quoted(value: str) -> str:
    return quote(value, safe="", errors="replace")


# ---------------------------------------------------------------- what must hold


class BrokenPromiseError(AssertionError):
    """Something does not hold; the text has what to repeat it with."""


def _hold(truth: object, promise: str) -> None:
    if not truth:
        raise BrokenPromiseError(promise)


_BLOCKS: Final = [secret[i : i + 8] for secret in SECRETS for i in range(0, len(secret) - 7, 8)]
"""Whatever shows 15 characters of a secret on end shows one of these."""


def check_error(error: FastKeyError, operation: str, status: int | None) -> None:
    """Check what holds of every error that an answer makes."""
    text = str(error)
    _hold(len(text) <= MAX_MESSAGE, f"the message has {len(text)} characters")
    _hold(text.isprintable(), "the message is not printable")
    _hold((operation, status) == (error.operation, error.status), "operation or status are not those of the answer")
    _hold(error.outcome in {"refused", "unknown"}, "the outcome is not one that an answer can have")
    wait = error.retry_after
    _hold(wait is None or 0 <= wait < float("inf"), "retry_after is no number of seconds")
    shown = f"{text} {error!r} {vars(error)}"
    if any(block in shown for block in _BLOCKS):
        _hold(not any(leaks(shown, secret, 16) for secret in SECRETS), "the error shows a secret")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    _hold((type(error), text, vars(error)) == (type(again), str(again), vars(again)), "the pickle is another error")
    _hold((None, None) == (error.__cause__, error.__context__), "another exception hangs on the error")


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _payload(response: WireResponse, *, strict: bool = True) -> Any:
    """Return an answer's JSON, by a reading of our own; None if there is none."""
    if response.completeness != "complete":
        return None
    try:
        return json.loads(response.body, parse_constant=_refuse if strict else None)
    except (ValueError, RecursionError):
        return None


def _fails(payload: Mapping[str, Any]) -> bool:
    """Tell whether an answer names an error, and not warnings alone."""
    error = payload.get("error")
    if not error:
        return False
    entries = error if isinstance(error, list) else [error]
    return not all(isinstance(entry, str) and re.match("W[A-Za-z]+:", entry) for entry in entries)


def check_answer(operation: str, response: WireResponse, read: object) -> str:
    """Check what comes of the answer to a call of the API, and return what it was.

    Raises:
        BrokenPromiseError: It does not hold what the library promises.
    """
    payload = _payload(response)
    fields: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    good = 200 <= response.status < 300
    if isinstance(read, Success):
        # A 204 has no body that could be cut off (RFC 9110, section 15.3.5).
        empty = response.status == 204 and not response.body
        _hold(
            good and (empty or response.completeness == "complete"), "a success of an answer that is none, or not whole"
        )
        _hold(not _fails(fields), "a success that Kraken calls an error")
        _hold(fields or empty, "a success without an object")
        _hold(
            all(text.isprintable() and len(text) <= 200 for text in read.warnings), "a warning is not fit to be shown"
        )
        shown = repr(read)
        if any(block in shown for block in _BLOCKS):
            _check_repr(shown, read.value)
        _CHECK_VALUE[operation](fields.get("result"), read.value)
        return f"{operation}: result"
    _hold(isinstance(read, FastKeyError), f"neither a result nor a FastKeyError: {type(read)}")
    assert isinstance(read, FastKeyError)
    check_error(read, operation, response.status)
    _hold(not (good and not _fails(fields) and _must_succeed(operation, fields)), "a good answer was lost")
    if read.outcome == "refused":
        _hold(isinstance(read, ApiError), "an answer that cannot be read refuses nothing")
        _hold(400 <= response.status < 500 or (good and _fails(fields)), "refused, and nothing says so")
        _hold(not fields.get("result"), "refused, and yet there is a result")
    return type(read).__name__


def _check_repr(shown: str, value: object) -> None:
    """Check that what a repr shows of a secret is what Kraken sent as a name, not as a secret."""
    told = [getattr(key, "unknown", {}) for key in (value if isinstance(value, tuple) else (value,))]
    named = repr([sorted(unknown) for unknown in told])
    public = [
        getattr(key, name)
        for key in (value if isinstance(value, tuple) else (value,))
        for name in ("api_key_name", "api_key", "id", "oauth_client", "purpose", "permissions", "ip_allowlist")
        if hasattr(key, name)
    ]
    for secret in SECRETS:
        if leaks(shown, secret, 16):
            _hold(leaks(named, secret, 16) or leaks(repr(public), secret, 16), "the repr shows a secret")


def _must_succeed(operation: str, fields: Mapping[str, Any]) -> bool:
    """Tell whether an answer that names no error says all that the call needs."""
    result = fields.get("result")
    match operation:
        case "create_key":
            halves = [result.get("secret"), result.get("api_key")] if isinstance(result, dict) else [None]
            return all(isinstance(half, str) and half for half in halves)
        case "update_key" | "delete_key":
            return result is True or (bool(fields) and result is None and ("result" in fields or "error" in fields))
        case "list_keys":
            entries = result if isinstance(result, list) else [{}]
            return all(isinstance(entry, dict) and [*entry] == ["api_key_name"] for entry in entries) and all(
                isinstance(entry["api_key_name"], str) for entry in entries
            )
        case _:
            return "result" in fields and result == {}


def _check_created(result: Any, key: object) -> None:
    _hold(type(key) is FastApiKey and isinstance(result, dict), "no key")
    assert isinstance(key, FastApiKey)
    _hold(result["secret"] and result["secret"] == key.secret.get_secret_value(), "the secret is another, or empty")
    _hold(key.api_key == result["api_key"], "the public half is another")
    told = result.get("api_key_name")
    _hold(key.api_key_name == (told if told and isinstance(told, str) else "grid-bot"), "the name is another")
    _check_key(result, key)


def _check_key(result: Mapping[str, Any], key: KeyInfo) -> None:
    """Check that what a key may do is not told as less, or as more, than it is."""
    flags: Any = result.get("permissions")
    if key.permissions is None:
        _hold(flags is None or "permissions" in key.unknown, "the permissions are lost")
    else:
        _hold(
            {name: flag for name, flag in flags.items() if flag is not None} == key.permissions.flags(), "permissions"
        )
        _hold({bool} >= set(map(type, key.permissions.flags().values())), "a permission that is neither yes nor no")
    allowed = result.get("ip_allowlist")
    if key.ip_allowlist is None:
        _hold(allowed is None or "ip_allowlist" in key.unknown, "the allowlist is lost")
    else:
        _hold(allowed == [*key.ip_allowlist], "the allowlist is another")
    for name in ("valid_until", "query_from", "query_to"):
        if getattr(key, name) is None:
            _hold(not result.get(name) or name in key.unknown, f"{name} is told as no restriction")
    for name in ("nonce", "nonce_window"):
        _hold(getattr(key, name) == result.get(name) or name in key.unknown, f"{name} is another")


def _check_listed(result: Any, keys: object) -> None:
    entries = [entry for entry in result or () if entry is not None]
    _hold(isinstance(keys, tuple) and len(keys) == len(entries), "as many keys as were sent")
    assert isinstance(keys, tuple)
    for entry, key in zip(entries, keys, strict=True):
        _hold(type(key) is KeyInfo and entry["api_key_name"] == key.api_key_name, "the name is another")
        _check_key(entry, key)


def _check_done(result: Any, value: object) -> None:
    _hold((result is None or result is True) and value is None, "done, and nothing says so")


def _check_user(result: Any, user: object) -> None:
    _hold(isinstance(user, UserInfo), "no user")
    assert isinstance(user, UserInfo)
    told = result or {}
    _hold((told.get("email"), told.get("iban")) == (user.email, user.iban), "another user")


_CHECK_VALUE: Final[Mapping[str, Callable[[Any, object], None]]] = {
    "create_key": _check_created,
    "update_key": _check_done,
    "delete_key": _check_done,
    "list_keys": _check_listed,
    "get_user_info": _check_user,
}

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


def _form(response: WireResponse) -> Mapping[str, Any]:
    """Return a token answer's fields, by a reading of our own: JSON, or else a form."""
    payload = _payload(response, strict=False)
    if isinstance(payload, dict):
        return payload
    if payload is not None or response.completeness != "complete":
        return {}
    try:
        form = parse_qs(response.body.decode("ascii"), keep_blank_values=True, max_num_fields=50, strict_parsing=True)
    except ValueError:
        return {}
    return {name: values[0] if len(values) == 1 else None for name, values in form.items()}


def check_grant(operation: str, response: WireResponse, read: object) -> str:
    """Check what comes of an answer of the token endpoint, and return what it was.

    Raises:
        BrokenPromiseError: It does not hold what the library promises.
    """
    fields = _form(response)
    good = 200 <= response.status < 300
    access, refresh, kind, error = (
        fields.get(name) for name in ("access_token", "refresh_token", "token_type", "error")
    )
    pair = (
        [access, *([refresh] if refresh not in {None, ""} else [])] if not isinstance(refresh, list | dict) else [None]
    )
    whole = all(isinstance(token, str) and _TOKEN.fullmatch(token) for token in pair)
    whole = whole and (kind is None or (isinstance(kind, str) and kind.casefold() == "bearer"))
    if isinstance(read, Grant):
        _hold(good and response.completeness == "complete" and not error, "a grant of an answer that gives none")
        _hold(whole and access == read.access_token.get_secret_value(), "the access token is another")
        held = None if read.refresh_token is None else read.refresh_token.get_secret_value()
        _hold(held == (refresh or REFRESH), "the refresh token is another, or the old one is lost")
        assert read.expires_at is not None
        assert read.issued_at is not None
        life = read.expires_at - read.issued_at
        _hold(timedelta(minutes=1) <= life <= timedelta(days=1), f"the access token lives {life}")
        _hold(grant_from_bytes(grant_to_bytes(read), "here") == read, "a store would return another grant")
        shown = repr(attrs.evolve(read, scopes=None))
        _hold(not any(secret in shown for secret in SECRETS), "the repr shows a token")
        return f"{operation}: result"
    _hold(isinstance(read, FastKeyError), f"neither a grant nor a FastKeyError: {type(read)}")
    assert isinstance(read, FastKeyError)
    check_error(read, operation, response.status)
    _hold(not (good and whole and not error), "the tokens are lost")
    if read.outcome == "refused":
        _hold(not access, "refused, and yet there is a token")
        _hold(response.status < 500 or response.status >= 600, "refused, by a server that failed")
        _hold(400 <= response.status < 500 or error, "refused, and nothing says so")
    if isinstance(read, ReauthorizationRequiredError):
        _hold(("refresh", "invalid_grant", "refused") == (operation, error, read.outcome), "the grant is not dead")
    return type(read).__name__


class _Stub:
    """A transport that has the answer already."""

    response = WireResponse(500, {}, b"")

    async def send(
        self,
        request: WireRequest,
        authorization: SecretStr,
        within: float | None,
        departing: Callable[[], object] = bool,
    ) -> WireResponse:
        departing()
        assert (request.method, bool(authorization), within) == ("POST", True, None)
        return self.response

    async def aclose(self) -> None:
        pass


async def _no_sleep(_: float) -> None:
    raise AssertionError("nothing is tried again")


_STUB: Final = _Stub()
_STILL: Final = Runtime(time=lambda: NOW, monotonic=lambda: 0.0, sleep=_no_sleep, random=lambda: 0.5)
OAUTH: Final = OAuthClient(
    "FAKE-app",
    redirect_uri="http://127.0.0.1:8765/callback",
    retry=RetryPolicy(max_attempts=1, deadline=None),
    issuer="https://id.kraken.com",
    _transport=_STUB,
    _runtime=_STILL,
)
_REQUEST: Final = refresh_request(SecretStr(REFRESH))


def _get_grant(operation: TokenOperation, response: WireResponse) -> object:
    """Return what the OAuth client makes of an answer, without an event loop: nothing in it waits."""
    _STUB.response = response
    coroutine = OAUTH._get_grant(operation, _REQUEST, GOOD_GRANT, None)
    try:
        coroutine.send(None)
    except StopIteration as done:
        if isinstance(done.value, FastKeyError):
            done.value.attempts = 0
        return done.value
    raise AssertionError("it waited")


def try_answer(operation: str, response: WireResponse) -> str:
    """Read an answer, check what comes of it, and return what it was.

    Raises:
        BrokenPromiseError: It does not hold what the library promises.
    """
    try:
        if operation in CALLS:
            return check_answer(operation, response, read_answer(CALLS[operation], response, NOW))
        return check_grant(operation, response, _get_grant(operation, response))  # type: ignore[arg-type]
    except Exception as error:
        repeat = f"WireResponse({response.status}, {response.headers}, {response.body!r}, {response.completeness!r})"
        raise BrokenPromiseError(f"{error!r} of try_answer({operation!r}, {repeat})") from error


@attrs.define
class Report:
    """What came of a run.

    Attributes:
        kinds: How often which result or error came.
        seconds: How long the processor had to do with them, their making included.
        slowest: The most seconds of the processor that one answer took, its checks included.
        slowest_answer: Which one that was.
    """

    kinds: Counter[str] = attrs.field(factory=Counter)
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_answer: str = ""

    def add(self, other: Report) -> None:
        """Add another run's."""
        self.kinds += other.kinds
        self.seconds += other.seconds
        if other.slowest > self.slowest:
            self.slowest, self.slowest_answer = other.slowest, other.slowest_answer

    def __str__(self) -> str:
        results = sum(count for kind, count in self.kinds.items() if kind.endswith("result"))
        told = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.most_common())
        return (
            f"{self.kinds.total():,} fuzzed answers: {results:,} results, {self.kinds.total() - results:,} errors; "
            f"by kind: {told}; {self.seconds:.1f} s of the processor; slowest: {self.slowest * 1000:.1f} ms "
            f"({self.slowest_answer})"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the library's log: a warning for each odd answer would be most of the work."""
    logger = logging.getLogger("kraken_fastkey")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def run_shard(seed: int, shard: int, answers: int) -> Report:
    """Fuzz some answers."""
    fuzzer = Fuzzer(f"{seed}:{shard}")
    report = Report()
    clock, kinds = time.thread_time, report.kinds
    begun = clock()
    with quiet():
        for number in range(answers):
            operation, response = fuzzer.answer()
            started = clock()
            kinds[try_answer(operation, response)] += 1
            taken = clock() - started
            if taken > report.slowest:
                # Once more: the garbage collector's pauses are not the answer's.
                started = clock()
                try_answer(operation, response)
                taken = min(taken, clock() - started)
            if taken > report.slowest:
                report.slowest = taken
                report.slowest_answer = f"{operation}, {len(response.body)} bytes, {seed}:{shard}, number {number}"
    report.seconds = clock() - begun
    if report.slowest > MAX_SECONDS:
        raise BrokenPromiseError(f"an answer took {report.slowest} s: {report.slowest_answer}")
    return report


def shards(seed: int, answers: int) -> list[tuple[int, int, int]]:
    """Return the arguments of `run_shard` that make up a run."""
    return [(seed, start // SHARD, min(SHARD, answers - start)) for start in range(0, answers, SHARD)]


def check_callback(client: OAuthClient, url: Any, request: AuthorizationRequest) -> str:
    """Read a callback, check what comes of it, and return what it was.

    Raises:
        BrokenPromiseError: It does not hold what the library promises.
    """
    try:
        try:
            code = client.read_callback(url, request)
        except FastKeyError as error:
            text = str(error)
            _hold(text.isprintable() and len(text) <= MAX_MESSAGE, "the message is not fit to be shown")
            _hold("refused" == error.outcome, "a callback is refused, or it is good")
            _hold(request.state not in f"{text}{error!r}", "the error shows the state")
            pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
            return text.partition(":")[2][:40]
        # As a browser reads it: without line breaks and tabs, a plus being a space.
        plain = re.sub(r"[\t\r\n]", "", url).partition("#")[0].partition("?")[2].replace("+", " ")
        raw = plain.encode("utf-8", "surrogatepass")
        pairs = [tuple(map(unquote_to_bytes, part.partition(b"=")[::2])) for part in raw.split(b"&")]
        _hold([request.state.encode()] == [value for name, value in pairs if name == b"state"], "another login's state")
        value = code.get_secret_value()
        _hold([value.encode()] == [value for name, value in pairs if name == b"code"], "another code")
        _hold(value and value.isascii() and value.isprintable(), "no code could be such")
        _hold(not any(value for name, value in pairs if name == b"error"), "a refused login has no code")
        urlencode({"code": value}).encode("ascii")
    except Exception as error:
        raise BrokenPromiseError(f"{error!r} of the callback {url!r} (state {request.state!r})") from error
    return "code"


def check_record(record: bytes) -> str:
    """Read a stored record, check what comes of it, and return what it was.

    Raises:
        BrokenPromiseError: It does not hold what the library promises.
    """
    try:
        try:
            grant = grant_from_bytes(record, "here")
        except StoreError as error:
            text = f"{error} {error!r}"
            _hold(str(error).isprintable(), "the message is not printable")
            _hold(not any(leaks(text, secret, 16) for secret in SECRETS), "the error shows a token")
            return "StoreError"
        fields = json.loads(record)
        _hold(fields["access_token"] == grant.access_token.get_secret_value(), "another access token")
        held = None if grant.refresh_token is None else grant.refresh_token.get_secret_value()
        _hold(fields["refresh_token"] == held, "another refresh token")
        _hold(grant_from_bytes(grant_to_bytes(grant), "here") == grant, "saved again, it is another grant")
    except Exception as error:
        raise BrokenPromiseError(f"{error!r} of the record {record!r}") from error
    return "grant"


def main() -> None:
    """Fuzz as many answers as the command line says, on every core, and tell what came of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    started = time.monotonic()
    total = Report()
    with ProcessPoolExecutor(arguments.processes) as pool:
        for report in pool.map(run_shard, *zip(*shards(arguments.seed, arguments.answers), strict=True)):
            total.add(report)
    seconds = time.monotonic() - started
    print(f"seed {arguments.seed}: {total}")
    print(f"{seconds:.1f} s, {arguments.answers / seconds:,.0f} answers/s in {arguments.processes} processes")


if __name__ == "__main__":
    main()
