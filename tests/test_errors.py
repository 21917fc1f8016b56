"""The tree of exceptions: as drawn, with what it carries, and fit to be copied and pickled."""

import copy
import pickle
import re
from collections.abc import Callable, Mapping
from importlib.metadata import metadata
from typing import Any

import pytest
from strategies import repickle

import kraken_fastkey
from kraken_fastkey import (
    ApiError,
    AuthenticationError,
    ClientClosedError,
    FastKeyError,
    InvalidRequestError,
    NonceAheadError,
    OAuthError,
    ReauthorizationRequiredError,
    ResponseFormatError,
    ServiceUnavailableError,
    UnknownOutcomeError,
    _errors,
)

DETAILS: Mapping[str, Any] = {
    "operation": "create_key",
    "attempts": 3,
    "outcome": "unknown",
    "status": 503,
    "codes": ("EService:Busy", "WDatabase:No change"),
    "retry_after": 7.5,
}
CLASSES: dict[str, type[FastKeyError]] = {
    name: value for name, value in vars(_errors).items() if isinstance(value, type) and issubclass(value, FastKeyError)
}
DEFAULT_OUTCOMES = {
    "UnknownOutcomeError": "unknown",
    "ResponseFormatError": "unknown",
    "ServiceUnavailableError": "unknown",
} | {
    name: "refused"
    for name, cls in CLASSES.items()
    if issubclass(cls, (ApiError, OAuthError)) and cls is not ServiceUnavailableError
}


def build(cls: type[FastKeyError], **details: Any) -> FastKeyError:
    """Return an error of any class, with the arguments that it needs."""
    if issubclass(cls, InvalidRequestError):
        kept = {name: value for name, value in details.items() if name == "operation"}
        return cls({"api_key_name": "is empty", "valid_until": "has passed"}, **kept)
    if issubclass(cls, UnknownOutcomeError):
        return cls("look first", api_key_name="grid-bot", **details)
    if issubclass(cls, ReauthorizationRequiredError):
        return cls("log in again", cause="lost_reply", **details)
    if issubclass(cls, NonceAheadError):
        return cls("use its unit", stored=10**18, offered=10**12, unit="ms", guess="ns", **details)
    return cls("mend it", **details)


def fill(cls: type[FastKeyError]) -> FastKeyError:
    """Return an error of any class with no attribute at its default."""
    error = build(cls, **DETAILS)
    if isinstance(error, ResponseFormatError):
        return ResponseFormatError(
            "mend it", media_type="text/html", excerpt="a page", faults=["$.result: must be an object"], **DETAILS
        )
    if isinstance(error, AuthenticationError):
        return AuthenticationError("mend it", token_rejected=False, **DETAILS)
    return error


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Return the tree of the module's docstring: each name's parent, and its second base."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    for line in (_errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<indent>[│├└─ ]*)(?P<name>\w+Error)(?: \((?P<base>\w+)\))?", line)
        if found:
            depth = len(found["indent"]) // 4
            path = [*path[:depth], found["name"]]
            tree[found["name"]] = (path[depth - 1] if depth else None, found["base"])
    return tree


def real_tree() -> dict[str, tuple[str | None, str | None]]:
    """Return the classes' tree in the same form."""
    tree = {}
    for name, cls in CLASSES.items():
        first, *others = (base.__name__ for base in cls.__bases__)
        tree[name] = (None if cls is FastKeyError else first, others[0] if others else None)
    return tree


def state(error: FastKeyError) -> dict[str, Any]:
    """Return all that an error carries."""
    return {"type": type(error), "args": error.args, "str": str(error), "repr": repr(error), **vars(error)}


def test_tree_is_as_drawn() -> None:
    """The tree in the docstring, which users read, is the tree of the classes."""
    assert drawn_tree() == real_tree()


def test_all_are_public() -> None:
    """Each class is in the module's `__all__` and in the package's."""
    assert set(CLASSES) == set(_errors.__all__) - {"NonceUnit", "Outcome", "ReauthorizationCause"}
    assert set(_errors.__all__) <= set(kraken_fastkey.__all__)


@pytest.mark.parametrize("cls", CLASSES.values())
def test_module_is_the_public_one(cls: type[FastKeyError]) -> None:
    """Tracebacks and pickles name the place that users import from."""
    assert ("kraken_fastkey", cls) == (cls.__module__, getattr(kraken_fastkey, cls.__name__))


@pytest.mark.parametrize("cls", CLASSES.values())
def test_defaults(cls: type[FastKeyError]) -> None:
    """An error that is told only its message has nothing more to tell."""
    error = build(cls)

    assert (None, 0, None, (), None) == (
        error.operation,
        error.attempts,
        error.status,
        error.codes,
        error.retry_after,
    )
    assert DEFAULT_OUTCOMES.get(cls.__name__, "not_sent") == error.outcome


@pytest.mark.parametrize("cls", [cls for cls in CLASSES.values() if cls is not InvalidRequestError])
def test_details_are_kept(cls: type[FastKeyError]) -> None:
    """Each detail given is an attribute of the same name."""
    error = build(cls, **DETAILS)

    assert {name: getattr(error, name) for name in DETAILS} == DETAILS


def test_codes_become_a_tuple() -> None:
    """Codes may come from any iterable, and cannot be changed afterwards."""
    assert build(ApiError, codes=iter(["EAPI:Invalid key"])).codes == ("EAPI:Invalid key",)


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({}, "mend it"),
        ({"operation": "list_keys"}, "list_keys: mend it"),
        ({"attempts": 1}, "mend it"),
        ({"attempts": 2}, "mend it (2 attempts)"),
        ({"operation": "list_keys", "attempts": 4}, "list_keys: mend it (4 attempts)"),
    ],
)
def test_str(details: dict[str, Any], text: str) -> None:
    """The text names the operation, the attempts if there were several, and where to read on; the argument is bare."""
    error = build(ApiError, **details)

    assert text == error.summary
    assert f"{text} (see https://kraken-fastkey.readthedocs.io/errors/#apierror)" == str(error)
    assert ("mend it",) == error.args


@pytest.mark.parametrize("cls", CLASSES.values())
def test_text_leads_to_the_classs_own_section(cls: type[FastKeyError]) -> None:
    """The address is that of the class, and is in the text once, on its one line."""
    error = fill(cls)

    assert f"https://kraken-fastkey.readthedocs.io/errors/#{cls.__name__.lower()}" == error.help_url
    assert 1 == str(error).count("https://")
    assert 1 == len(str(error).splitlines())


def test_users_own_class_leads_to_the_nearest_known_one() -> None:
    """A class that a user derives is told of where its nearest base is, whatever its name."""

    class _BotError(UnknownOutcomeError):
        """A class of a user's own."""

    own = type("TransportError", (_BotError, LookupError), {})("look first", api_key_name="grid-bot")

    assert "https://kraken-fastkey.readthedocs.io/errors/#unknownoutcomeerror" == own.help_url
    assert "look first (see https://kraken-fastkey.readthedocs.io/errors/#unknownoutcomeerror)" == str(own)


def test_address_is_the_one_of_the_package() -> None:
    """The package's metadata name the same site as its errors."""
    found = metadata("kraken-fastkey").get_all("Project-URL") or []
    assert f"Documentation, {_errors.DOCUMENTATION_URL}" in found


@pytest.mark.parametrize("cls", CLASSES.values())
@pytest.mark.parametrize("make", [build, fill], ids=["defaults", "filled"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_all(cls: type[FastKeyError], make: Callable[..., FastKeyError], protocol: int) -> None:
    """An error comes out of a pickle with every attribute: process pools send them so."""
    error = make(cls)

    assert state(repickle(error, protocol)) == state(error)


@pytest.mark.parametrize("cls", CLASSES.values())
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copy_keeps_all(cls: type[FastKeyError], copier: Callable[[FastKeyError], FastKeyError]) -> None:
    """A copy is another object with every attribute."""
    error = fill(cls)
    copied = copier(error)

    assert error is not copied
    assert state(copied) == state(error)


def test_copy_keeps_notes() -> None:
    """Notes that somebody added travel along."""
    error = fill(ApiError)
    error.add_note("while renewing grid-bot")

    assert copy.copy(error).__notes__ == ["while renewing grid-bot"]


def test_invalid_request_error() -> None:
    """It is a ValueError that tells all faults, by field, and in its text."""
    error = InvalidRequestError({"api_key_name": "is empty", "nonce_window": "must be an int"}, operation="create_key")

    assert isinstance(error, ValueError)
    assert error.faults == {"api_key_name": "is empty", "nonce_window": "must be an int"}
    assert error.summary == "create_key: api_key_name: is empty; nonce_window: must be an int"
    assert error.outcome == "not_sent"


def test_faults_cannot_be_changed() -> None:
    """What was wrong stays on record, whatever is done to the dict it came from."""
    faults = {"api_key_name": "is empty"}
    error = InvalidRequestError(faults)
    faults.clear()

    with pytest.raises(TypeError, match="cannot be changed"):
        error.faults["other"] = "x"  # type: ignore[index]
    assert error.faults == {"api_key_name": "is empty"}


def test_client_closed_error_is_a_runtime_error() -> None:
    """A closed client is a mistake of the program, as a closed event loop is."""
    assert isinstance(build(ClientClosedError), RuntimeError)


def test_unknown_outcome_error_names_the_key() -> None:
    """It cannot be made without the name to look for."""
    assert UnknownOutcomeError("look", api_key_name="grid-bot").api_key_name == "grid-bot"
    with pytest.raises(TypeError, match="api_key_name"):
        UnknownOutcomeError("look")  # type: ignore[call-arg]


@pytest.mark.parametrize(("given", "kept"), [({}, True), ({"token_rejected": False}, False)])
def test_authentication_error(given: dict[str, Any], *, kept: bool) -> None:
    """It says whether another token may do; as a rule, it may."""
    assert AuthenticationError("no", **given).token_rejected is kept


def test_response_format_error() -> None:
    """It says what the answer was, as far as that may be shown."""
    plain = ResponseFormatError("no")
    filled = fill(ResponseFormatError)

    assert ("", "", ()) == (plain.media_type, plain.excerpt, plain.faults)
    assert isinstance(filled, ResponseFormatError)
    assert ("text/html", "a page", ("$.result: must be an object",)) == (
        filled.media_type,
        filled.excerpt,
        filled.faults,
    )
