"""Server's text made fit to be shown: short, on one line, with nothing in it that could be a secret."""

import json

import pytest
from hypothesis import given, strategies as st
from strategies import SECRET, created, json_values, leaks

from kraken_fastkey._wire.excerpt import excerpt, one_line

MEDIA_TYPES = ["application/json", "text/plain", "text/html", "application/x-www-form-urlencoded", ""]
GOOD_BODY = json.dumps({"error": [], "result": created(api_key=SECRET[::-1])}).encode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a\r\nb\tc", "a b c"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\x00b\x07c\x7fd\x9be", "a b c d e"),
        ("a\u202eb\u2028c\u2029d\ufeffe", "a b c d e"),
        ("half \ud800 pair", "half pair"),
        ("  spaces   within  ", "spaces within"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("x" * 10**7, "x" * 199 + "…"),
        ("\n" * 10**7 + "far away", ""),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_one_line(text: str, line: str) -> None:
    """No control character gets through, no line break, and no more than the limit."""
    assert one_line(text) == line


@given(st.text(), st.integers(1, 50))
def test_one_line_of_anything(text: str, limit: int) -> None:
    """Any text becomes a short, printable line."""
    line = one_line(text, limit)

    assert len(line) <= limit
    assert line.isprintable()


@pytest.mark.parametrize(
    ("body", "media_type", "shown"),
    [
        (b"", "", ""),
        (b"   \r\n", "text/plain", ""),
        (b"upstream connect error", "text/plain", "upstream connect error"),
        (b"error code: 1020", "", "error code: 1020"),
        (b"\xef\xbb\xbfwith a mark", "text/plain", "with a mark"),
        (b"<html><title>502 Bad Gateway</title><h1>x", "text/html", "502 Bad Gateway"),
        (b"<html><head>\n<TITLE lang=en>\n 502 \n</TITLE", "", "502"),
        (b"<title>a &amp; b &lt;script&gt;</title>", "text/html", "a & b <script>"),
        (b"<html><h1>no title</h1>", "text/html", ""),
        (b"<?xml version='1.0'?><Error><Key>FAKE</Key></Error>", "application/xml", ""),
        (b"no page at all", "text/html", ""),
        (
            b'{"result": {"secret": "FAKE", "nonce": 12, "ok": true, "n": null}',
            "",
            "{result: {secret: …, nonce: …, ok: true, n: null}",
        ),
        (b'[1, -2.5e9, "FAKE", false]', "application/json", "[…, …, …, false]"),
        (b'"FAKE', "", "…"),
        (b'{"FAKE-key 1": 1, "FAKE": FAKE, "a\\"b": 2}', "", "{…: …, FAKE: …, …: …}"),
        (b"FAKE FAKE", "application/problem+json", "… …"),
        (b"access_token=FAKE&expires_in=5", "application/x-www-form-urlencoded", "access_token=…&expires_in=…"),
        (b"token " + b"F" * 16, "text/plain", "token …"),
        (b"token " + b"F" * 15, "text/plain", "token " + "F" * 15),
    ],
)
def test_excerpt(body: bytes, media_type: str, shown: str) -> None:
    """Of JSON the structure is shown, of a page the title, of other text the beginning; what may be secret is not."""
    assert excerpt(body, media_type) == shown


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_answer_cut_off_anywhere(media_type: str) -> None:
    """A create answer may break off after any byte: no piece of the secret is shown."""
    shown = {excerpt(GOOD_BODY[:end], media_type) for end in range(len(GOOD_BODY) + 1)}

    assert [] == [piece for text in shown for piece in leaks(text) + leaks(text, SECRET[::-1])]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_answer_whose_beginning_is_lost(media_type: str) -> None:
    """An answer may begin with any byte, in the midst of a string: nothing as long as a key is shown."""
    shown = {excerpt(GOOD_BODY[start:], media_type) for start in range(len(GOOD_BODY))}

    assert [] == [piece for text in shown for piece in leaks(text, least=16) + leaks(text, SECRET[::-1], least=16)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_answer_in_another_encoding(encoding: str, media_type: str) -> None:
    """Zero bytes between the letters do not make a secret harmless."""
    shown = "".join(excerpt(GOOD_BODY.decode()[:-2].encode(encoding), media_type).split())

    assert leaks(shown, least=16) == []


@pytest.mark.parametrize(
    "body",
    [
        f"«{SECRET}»",
        f"{{«{SECRET}»",
        f"{{'secret': '{SECRET}'}}",
        f"{{secret: {SECRET}}}",
        f'{{"secret"= "{SECRET}',
        f'{{"a\\": "{SECRET}',
        f'{{"{SECRET}": 1',
        f'["\\"", "{SECRET}"',
        f"secret\n{SECRET}\n",
        f"secret={SECRET}&a=b",
        f"<title>{SECRET}</title>",
        f"<secret>{SECRET}</secret>",
        f"<title>\n{SECRET[:44]}\n{SECRET[44:]}",
        f')]}}\',\n{{"secret": "{SECRET}"',
        " " * 9000 + SECRET,
        f'{{"pad": "{"x" * 8150}", "secret": "{SECRET}"',
    ],
    ids=lambda body: body[:12],
)
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_secret_in_odd_places(body: str, media_type: str) -> None:
    """Whatever is around it, what is as long as a key is masked."""
    assert leaks(excerpt(body.encode(), media_type)) == []


@given(
    st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()), st.sampled_from(MEDIA_TYPES)
)
def test_excerpt_of_anything(body: bytes, media_type: str) -> None:
    """Any bytes give a short printable line, without a piece of the secret."""
    shown = excerpt(body, media_type)

    assert len(shown) <= 200
    assert shown.isprintable()
    assert leaks(shown, least=16) == []
