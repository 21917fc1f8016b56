"""Access tokens and the two simplest providers: checked at once, shown never, refused once."""

import copy
import pickle
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from strategies import package_locals

from kraken_fastkey import (
    AccessToken,
    AuthenticationError,
    CallbackTokenProvider,
    CommandTokenProvider,
    EnvironmentTokenProvider,
    FileTokenProvider,
    InvalidRequestError,
    SecretStr,
    StaticTokenProvider,
    TokenProvider,
)

FAKE = "FAKE-token-8c1f"
OTHER = "FAKE-token-77aa"
SOON = datetime(2027, 1, 15, tzinfo=UTC)
ODD = (
    "holds a space, a line break or another character that no access token has: strip() it, if it was read from a file"
)


# ---------------------------------------------------------------- AccessToken


@pytest.mark.parametrize("value", [FAKE, SecretStr(FAKE)])
def test_access_token(value: str | SecretStr) -> None:
    """The value is wrapped, once, and what is not known is None."""
    token = AccessToken(value)

    assert (SecretStr(FAKE), None, None) == (token.value, token.expires_at, token.scopes)


@pytest.mark.parametrize("character", [chr(n) for n in range(0x21, 0x7F)])
def test_visible_ascii_is_allowed(character: str) -> None:
    """Each character of RFC 6749, appendix A.12, but the space, may be in a token."""
    assert AccessToken(f"a{character}b").value.get_secret_value() == f"a{character}b"


@pytest.mark.parametrize(
    ("scopes", "granted"),
    [
        (None, None),
        ("", frozenset()),
        ("a b", frozenset({"a", "b"})),
        ("  a\tb\n a", frozenset({"a", "b"})),
        (["a", "b", "a"], frozenset({"a", "b"})),
        (iter(("a",)), frozenset({"a"})),
        ([], frozenset()),
    ],
)
def test_scopes(scopes: Any, granted: frozenset[str] | None) -> None:
    """Scopes may be an iterable, or one string as in a token answer; none known is not none granted."""
    assert AccessToken(FAKE, scopes=scopes).scopes == granted


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", "is empty"),
        (SecretStr(""), "is empty"),
        (f"{FAKE}\n", ODD),
        (f" {FAKE}", ODD),
        (f"Bearer {FAKE}", ODD),
        (f"{FAKE}\r\nX-Evil: 1", ODD),
        (f"{FAKE}\0", ODD),
        (f"{FAKE}\x7f", ODD),
        (f"{FAKE}é", ODD),
        (f"{FAKE}\ud800", ODD),
        (SecretStr(f"{FAKE}\n"), ODD),
        (None, "must be a str, not NoneType"),
        (5, "must be a str, not int"),
        (FAKE.encode(), "must be a str, not bytes"),
        ([FAKE], "must be a str, not list"),
        ({"access_token": FAKE}, "must be a str, not dict"),
    ],
)
def test_what_is_no_token_is_refused(value: Any, fault: str) -> None:
    """A header cannot be forged, the usual slip has its remedy told, and the traceback shows nothing."""
    with pytest.raises(InvalidRequestError) as caught:
        AccessToken(value)

    assert caught.value.faults == {"token": fault}
    assert "FAKE" not in package_locals(caught.value)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


@pytest.mark.parametrize(
    "expires_at",
    [datetime(2027, 1, 15), 1_800_000_000, "2027-01-15", timedelta(hours=4)],  # noqa: DTZ001  # the fault itself
)
def test_wrong_expiry_is_refused(expires_at: Any) -> None:
    """Only an aware datetime tells when."""
    with pytest.raises(InvalidRequestError) as caught:
        AccessToken(FAKE, expires_at)

    assert caught.value.faults == {"expires_at": "must be a datetime with a time zone"}
    assert "FAKE" not in package_locals(caught.value)


def test_all_faults_of_a_token_are_told_at_once() -> None:
    """One look is enough to mend it."""
    with pytest.raises(InvalidRequestError) as caught:
        AccessToken("", 5)  # type: ignore[arg-type]

    assert {"token", "expires_at"} == caught.value.faults.keys()


def test_access_token_hides_its_value() -> None:
    """What shows a token shows the rest of it."""
    token = AccessToken(FAKE, SOON, "a")
    shown = f"{token} {token!r} {attrs.asdict(token)} {attrs.astuple(token)} {[token]}"

    assert "FAKE" not in shown
    assert repr(SOON) in shown


def test_access_token_equals_one_of_the_same_value() -> None:
    """Tokens compare by what they are, and can be keys of a dict."""
    assert AccessToken(FAKE, SOON, "a b") == AccessToken(FAKE, SOON, ["b", "a"])
    assert AccessToken(FAKE) != AccessToken(OTHER)
    assert {AccessToken(FAKE)} == {AccessToken(FAKE)}


def test_access_token_is_frozen() -> None:
    """It is shared by many tasks."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        AccessToken(FAKE).value = SecretStr(OTHER)  # type: ignore[misc]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, attrs.evolve])
def test_access_token_survives_copies(again: Callable[[AccessToken], AccessToken]) -> None:
    """Copies are equal."""
    token = AccessToken(FAKE, SOON, "a")

    assert again(token) == token


def test_evolve_checks_again() -> None:
    """A changed copy is checked like a new token."""
    token = AccessToken(FAKE, SOON)

    assert attrs.evolve(token, scopes="a b") == AccessToken(FAKE, SOON, "a b")
    with pytest.raises(InvalidRequestError):
        attrs.evolve(token, value="a b")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_access_token_cannot_be_pickled(protocol: int) -> None:
    """A pickle would hold it in clear."""
    with pytest.raises(TypeError):
        pickle.dumps(AccessToken(FAKE), protocol)


@given(st.text() | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F)))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    """What is let through fits into a header line as it is."""
    try:
        token = AccessToken(text)
    except InvalidRequestError as error:
        refused = {"token"} == error.faults.keys()
    else:
        refused = False
        assert token.value.get_secret_value() == text
    assert refused is (not text or any(not "!" <= character <= "~" for character in text))


# ---------------------------------------------------------------- providers


class OwnProvider:
    """A provider that knows nothing of ours."""

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return a token."""
        return rejected or AccessToken(FAKE)


@pytest.mark.parametrize(
    "provider",
    [
        StaticTokenProvider(FAKE),
        CallbackTokenProvider(lambda: FAKE),
        EnvironmentTokenProvider(),
        FileTokenProvider("x"),
        CommandTokenProvider(["x"]),
        OwnProvider(),
    ],
)
def test_is_a_provider(provider: object) -> None:
    """Any object with the method is a provider, without a base class."""
    assert isinstance(provider, TokenProvider)


@pytest.mark.parametrize("other", [FAKE, lambda: FAKE, AccessToken(FAKE), None])
def test_is_no_provider(other: object) -> None:
    """A bare token, or function, is none."""
    assert not isinstance(other, TokenProvider)


async def make_token() -> AccessToken:
    """Return a token, asynchronously."""
    return AccessToken(FAKE, SOON, "a")


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        """Return a token."""
        return make_token().__await__()


@pytest.mark.parametrize("given_token", [FAKE, SecretStr(FAKE), AccessToken(FAKE)])
async def test_static_provider(given_token: str | SecretStr | AccessToken) -> None:
    """It returns the token it was given, each time the same object."""
    provider = StaticTokenProvider(given_token)
    token = await provider.get_token()

    assert token == AccessToken(FAKE)
    assert token is await provider.get_token()
    assert token is await provider.get_token(rejected=AccessToken(OTHER))


@pytest.mark.parametrize("value", ["", f"{FAKE}\n", None, 5, FAKE.encode(), lambda: FAKE])
def test_static_provider_refuses_what_is_no_token(value: Any) -> None:
    """It is refused when the provider is made, and shown in no frame."""
    with pytest.raises(InvalidRequestError) as caught:
        StaticTokenProvider(value)

    assert {"token"} == caught.value.faults.keys()
    assert "FAKE" not in package_locals(caught.value)


def test_static_provider_hides_its_token() -> None:
    """Neither the provider nor its attributes show it."""
    provider = StaticTokenProvider(FAKE)

    assert "FAKE" not in f"{provider!r} {vars(provider)}"


@pytest.mark.parametrize(
    "function",
    [
        lambda: FAKE,
        lambda: SecretStr(FAKE),
        lambda: AccessToken(FAKE, SOON, "a"),
        make_token,
        lambda: make_token(),  # noqa: PLW0108  # a plain function that returns an awaitable
        Later,
    ],
    ids=["str", "SecretStr", "AccessToken", "async", "awaitable", "object"],
)
async def test_callback_provider(function: Callable[[], Any]) -> None:
    """A function may be sync or async, and return a token in any form; what it knows of it is kept."""
    token = await CallbackTokenProvider(function).get_token()

    assert token.value.get_secret_value() == FAKE
    assert token in {AccessToken(FAKE), AccessToken(FAKE, SOON, "a")}


async def test_callback_is_called_each_time() -> None:
    """It holds on to nothing: the function decides."""
    tokens = iter([FAKE, OTHER])
    provider = CallbackTokenProvider(lambda: next(tokens))

    assert [AccessToken(FAKE), AccessToken(OTHER)] == [await provider.get_token(), await provider.get_token()]


@pytest.mark.parametrize("value", [None, 5, FAKE.encode(), [FAKE], "", f"{FAKE}\n", {"token": FAKE}])
@pytest.mark.parametrize("as_async", [True, False])
async def test_callback_that_returns_no_token(value: object, *, as_async: bool) -> None:
    """What is no token is refused, and shown in no frame of the package."""

    async def later() -> object:
        return value

    with pytest.raises(InvalidRequestError) as caught:
        await CallbackTokenProvider(later if as_async else lambda: value).get_token()

    assert {"token"} == caught.value.faults.keys()
    assert "FAKE" not in package_locals(caught.value)


@pytest.mark.parametrize("function", [None, FAKE, 5, AccessToken(FAKE)])
def test_callback_must_be_a_function(function: Any) -> None:
    """A bare token was perhaps meant for a StaticTokenProvider; it is not shown."""
    with pytest.raises(InvalidRequestError) as caught:
        CallbackTokenProvider(function)

    assert caught.value.faults == {"function": f"must be callable, not {type(function).__name__}"}
    assert "FAKE" not in package_locals(caught.value)


async def test_error_of_the_callback_comes_through() -> None:
    """What the function raises is its own affair, and the client's to wrap."""

    def fail() -> str:
        raise LookupError("vault")

    with pytest.raises(LookupError, match="vault"):
        await CallbackTokenProvider(fail).get_token()


Get = Callable[..., Awaitable[AccessToken]]


@pytest.mark.parametrize(
    ("get", "advice"),
    [
        (StaticTokenProvider(FAKE).get_token, "the StaticTokenProvider has no other: make a new one"),
        (CallbackTokenProvider(lambda: FAKE).get_token, "the callback returned it again: have it get a new one"),
    ],
    ids=["static", "callback"],
)
async def test_token_that_was_refused_is_not_returned_again(get: Get, advice: str) -> None:
    """The same token would be refused again; the error says what to do, and not what the token is."""
    with pytest.raises(AuthenticationError) as caught:
        await get(rejected=AccessToken(FAKE, SOON, "other scopes"))

    error = caught.value
    assert error.summary == f"Kraken refused the access token, and {advice}"
    assert (401, True, "refused", 0) == (error.status, error.token_rejected, error.outcome, error.attempts)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert "8c1f" not in "".join(told.format())


async def test_callback_that_has_another_by_now() -> None:
    """A function that gets a new token after a refusal is all the refreshing there is."""
    provider = CallbackTokenProvider(lambda: OTHER)

    assert await provider.get_token(rejected=AccessToken(FAKE)) == AccessToken(OTHER)


@pytest.mark.parametrize("scopes", [5, ["a", 5], [b"a"], b"a b"])
def test_scopes_that_are_none(scopes: Any) -> None:
    """What is neither a list of strings nor a string is told by its field."""
    with pytest.raises(InvalidRequestError) as caught:
        AccessToken(FAKE, scopes=scopes)
    assert {"scopes": "must be a list of strings, or one string with spaces between the scopes"} == caught.value.faults
