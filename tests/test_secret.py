"""SecretStr: nothing that shows a value by accident shows this one."""

import copy
import io
import json
import logging
import pickle
import pprint
import string
import traceback
from collections.abc import Callable

import attrs
import cattrs
import pytest

from kraken_fastkey import SecretStr

FAKE = "FAKE-canary-5f1d0c"


@attrs.frozen
class Holder:
    """An object with a secret in it."""

    secret: SecretStr


def make() -> SecretStr:
    """Return the secret, in a frame that is gone when a traceback is made."""
    return SecretStr(FAKE)


def log_it() -> str:
    """Log the secret in all the ways a record has."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(args)s %(owner)s"))
    logger = logging.Logger("test")  # noqa: LOG001  # one that no other test sees
    logger.addHandler(handler)
    secret = make()
    logger.warning("%s %r %a", secret, secret, secret, extra={"owner": Holder(secret)})
    logger.warning(secret, extra={"owner": {"secret": secret}})
    assert 2 == stream.getvalue().count("\n")
    return stream.getvalue()


def traceback_with_locals() -> str:
    """Fail with the secret in a local variable, in a container and in the arguments of the exception."""

    def fail(secret: SecretStr, holder: Holder, items: list[SecretStr]) -> None:
        raise LookupError(secret, holder, items)

    with pytest.raises(LookupError) as caught:
        fail(make(), Holder(make()), [make()])
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    return "".join(told.format())


SINKS: dict[str, Callable[[], object]] = {
    "repr": lambda: repr(make()),
    "str": lambda: str(make()),
    "ascii": lambda: ascii(make()),
    "format": lambda: format(make()),
    "format with width": lambda: f"{make():>40}",
    "format with precision": lambda: f"{make():.5s}",
    "f-string": lambda: f"{make()} {make()!r} {make()!s} {make()!a}",
    "str.format": lambda: "{} {0.__class__} {0!r}".replace("{}", "{0}").format(make()),
    "%s": lambda: "%s %r %a %.3s %40s" % ((make(),) * 5),  # noqa: UP031  # the sink itself
    "Template": lambda: string.Template("$s").substitute(s=make()),
    "print": lambda: print(make(), [make()], file=io.StringIO()),
    "pprint": lambda: pprint.pformat({"a": [make()], "b": Holder(make())}),
    "containers": lambda: f"{[make()]} {(make(),)} { {make()} } { {make(): make()} }",
    "attrs repr": lambda: repr(Holder(make())),
    "attrs.asdict": lambda: attrs.asdict(Holder(make())),
    "attrs.astuple": lambda: attrs.astuple(Holder(make())),
    "cattrs.unstructure": lambda: cattrs.unstructure(Holder(make())),
    "cattrs.unstructure alone": lambda: cattrs.unstructure(make()),
    "json with default=str": lambda: json.dumps(make(), default=str),
    "json with default=repr": lambda: json.dumps([Holder(make())], default=repr),
    "exception": lambda: f"{ValueError(make())} {ValueError(make())!r}",
    "logging": log_it,
    "traceback with locals": traceback_with_locals,
    "copies": lambda: f"{copy.copy(make())!r} {copy.deepcopy([make()])!r}",
}


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS.keys())
def test_is_shown_nowhere(sink: Callable[[], object]) -> None:
    """No sink that shows values by accident shows the secret, or a piece of it."""
    shown = f"{sink()} {sink()!r}"

    assert "FAKE" not in shown
    assert "5f1d0c" not in shown


@pytest.mark.parametrize("value", ["", "x", FAKE, "é" * 100])
def test_mask_tells_nothing(value: str) -> None:
    """The mask is the same whatever the value, so not even the length is told."""
    assert ("**********", "SecretStr('**********')") == (str(SecretStr(value)), repr(SecretStr(value)))


def test_get_secret_value_returns_it() -> None:
    """Who asks by name gets the secret, unchanged."""
    assert make().get_secret_value() == FAKE


def test_wraps_another() -> None:
    """A SecretStr of a SecretStr holds the same string, not one inside the other."""
    assert SecretStr(make()).get_secret_value() == FAKE


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: [s], Holder], ids=["alone", "in a list", "in an object"])
def test_pickle_is_refused(protocol: int, wrap: Callable[[SecretStr], object]) -> None:
    """No protocol of pickle writes the secret, and the refusal does not quote it."""
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(wrap(make()), protocol)

    assert "FAKE" not in str(caught.value)


@pytest.mark.parametrize("method", ["__reduce__", "__getstate__"])
def test_has_no_state_to_hand_out(method: str) -> None:
    """The hooks that other serializers look for refuse as well."""
    with pytest.raises(TypeError):
        getattr(make(), method)()


def test_json_is_refused() -> None:
    """Json knows no way to write it, and its complaint does not quote it."""
    with pytest.raises(TypeError, match="SecretStr") as caught:
        json.dumps({"secret": make()})

    assert "FAKE" not in str(caught.value)


def test_has_no_dict() -> None:
    """There is no `__dict__` for a debugger or `vars` to show."""
    with pytest.raises(TypeError):
        vars(make())


@pytest.mark.parametrize("join", [lambda s: "x" + s, lambda s: ",".join((s,) * 2), lambda s: s + "x"])
def test_is_not_a_str(join: Callable[[SecretStr], object]) -> None:
    """It does not slip into another string unnoticed."""
    with pytest.raises(TypeError):
        join(make())


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copy_is_itself(copier: Callable[[SecretStr], SecretStr]) -> None:
    """A copy is the object itself, so a secret does not multiply in memory."""
    secret = make()

    assert secret is copier(secret)


@pytest.mark.parametrize("value", [FAKE, "", "é", "\ud800 a lone surrogate", "\0"])
def test_equal_values_are_equal(value: str) -> None:
    """Two are equal, and hash alike, if their values are; any str will do."""
    left, right = SecretStr(value), SecretStr("".join(value))

    assert left == right
    assert hash(left) == hash(right)
    assert {left} == {right}


@pytest.mark.parametrize("other", [SecretStr("FAKE-other"), SecretStr(""), FAKE, None, FAKE.encode()])
def test_others_are_not_equal(other: object) -> None:
    """It differs from another secret, and from the plain string."""
    assert make() != other


def test_hash_is_not_that_of_the_string() -> None:
    """The plain string does not find it in a dict."""
    assert FAKE not in {make(): 1}


def test_bool_tells_whether_it_is_empty() -> None:
    """An empty secret is false, like an empty string."""
    assert (True, False) == (bool(make()), bool(SecretStr("")))


@pytest.mark.parametrize("name", ["_value", "value", "__class__"])
def test_cannot_be_changed(name: str) -> None:
    """Attributes can be neither set nor deleted, and it keeps its value."""
    secret = make()

    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(secret, name, "FAKE-other")
    with pytest.raises(AttributeError, match="cannot be changed"):
        delattr(secret, name)
    assert secret.get_secret_value() == FAKE


@pytest.mark.parametrize("value", [None, 5, FAKE.encode(), [FAKE], bytearray(FAKE, "ascii")])
def test_others_are_refused(value: object) -> None:
    """What is no string is refused, by its type's name alone: no frame of the traceback holds it."""
    with pytest.raises(TypeError, match=f"not {type(value).__name__}") as caught:
        SecretStr(value)  # type: ignore[arg-type]

    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "FAKE" not in str(told.stack[-1].locals) + str(told)
