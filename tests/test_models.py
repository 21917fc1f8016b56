"""What a user fills in, and what comes back: checked at once, told all at once, never changed."""

import copy
import ipaddress
import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from strategies import FAR, NOW, SECRET, create_requests, flag_names, permissions, repickle, update_requests

from kraken_fastkey import (
    CreateKeyRequest,
    FastApiKey,
    InvalidRequestError,
    KeyInfo,
    Permissions,
    SecretStr,
    UpdateKeyRequest,
    UserInfo,
)
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import resolve_times

Request = CreateKeyRequest | UpdateKeyRequest

PREFIX = "account.fast-api-key:"
KEY = FastApiKey(
    api_key_name="grid-bot",
    api_key="FAKE-public-half",
    secret=SecretStr(SECRET),
    created_time=datetime(2027, 1, 15, tzinfo=UTC),
    created_time_raw="1799971200",
    ip_allowlist=("203.0.113.0/24",),
    nonce=2**64 - 1,
    permissions=Permissions(funds_query=True, extra={"withdrawal_address_add": False}),
    unknown=FrozenDict({"fee_tier": [1, {"a": None}]}),
)
INFO = KeyInfo(**{field.name: getattr(KEY, field.name) for field in attrs.fields(KeyInfo)})


def faults_of(make: Callable[..., object], **arguments: Any) -> dict[str, str]:
    """Return what a class says is wrong with its arguments."""
    with pytest.raises(InvalidRequestError) as caught:
        make(**arguments)
    assert all(f"{field}: {fault}" in str(caught.value) for field, fault in caught.value.faults.items())
    assert (None, 0, "not_sent", None, None) == (
        caught.value.operation,
        caught.value.attempts,
        caught.value.outcome,
        caught.value.__cause__,
        caught.value.__context__,
    )
    return dict(caught.value.faults)


# ---------------------------------------------------------------- requests

NEITHER = "is neither an IP address nor a network such as '203.0.113.0/24'"
IN_COMMON: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"api_key_name": ""}, {"api_key_name": "is empty: a key's name has 1 to 32 characters"}),
    ({"api_key_name": "n" * 33}, {"api_key_name": "has 33 characters: a key's name has 1 to 32"}),
    ({"api_key_name": None}, {"api_key_name": "must be a string, not None"}),
    (
        {"permissions": {"funds_query": True}},
        {"permissions": "must be a Permissions object, not dict"},
    ),
    (
        {"ip_allowlist": "203.0.113.7"},
        {"ip_allowlist": "must be a list of addresses and networks, not str: write [...] around it"},
    ),
    (
        {"ip_allowlist": ["10.0.0.1/8"]},
        {
            "ip_allowlist": "'10.0.0.1/8' has host bits set: "
            "write '10.0.0.0/8' for the network or '10.0.0.1' for the one address"
        },
    ),
    ({"ip_allowlist": ["not-an-ip"]}, {"ip_allowlist": f"'not-an-ip' {NEITHER}"}),
    ({"nonce_window": True}, {"nonce_window": "must be an int, not bool"}),
    ({"nonce_window": -1}, {"nonce_window": "must be from 0 to 2**64 - 1"}),
    (
        {"query_from": datetime(2027, 1, 15)},  # noqa: DTZ001  # the fault itself
        {
            "query_from": "is a datetime without a time zone, which could mean anything: "
            "give it one, such as datetime.now(timezone.utc)"
        },
    ),
    (
        {"query_to": 1_800_000_000_000},
        {"query_to": "is after the year 9999: Unix seconds are meant, not milliseconds or nanoseconds"},
    ),
    ({"query_to": float("nan")}, {"query_to": "must be Unix seconds, 1 or more, or 0 for no restriction"}),
    ({"query_from": -1}, {"query_from": "must be Unix seconds, 1 or more, or 0 for no restriction"}),
    (
        {"valid_until": "tomorrow"},
        {"valid_until": "must be an aware datetime, a timedelta from now or Unix seconds, not str"},
    ),
    ({"valid_until": timedelta.max}, {"valid_until": "leads out of the years 1970 to 9999"}),
    ({"query_from": timedelta(days=-40_000)}, {"query_from": "leads out of the years 1970 to 9999"}),
    ({"valid_until": 5}, {"valid_until": "is not in the future (5): the key would be dead at birth"}),
    (
        {"valid_until": timedelta(hours=-1)},
        {"valid_until": "is not in the future (-1 day, 23:00:00): the key would be dead at birth"},
    ),
    ({"valid_until": timedelta(0)}, {"valid_until": "is not in the future (0:00:00): the key would be dead at birth"}),
    (
        {"valid_until": datetime(2020, 1, 1, tzinfo=UTC)},
        {"valid_until": "is not in the future (2020-01-01 00:00:00+00:00): the key would be dead at birth"},
    ),
    ({"query_from": 200, "query_to": 100}, {"query_from": "is after query_to, by 100 s: swap them"}),
    (
        {"query_from": datetime(2020, 1, 2, tzinfo=UTC), "query_to": datetime(2020, 1, 1, tzinfo=UTC)},
        {"query_from": "is after query_to, by 86400 s: swap them"},
    ),
    (
        {"query_from": timedelta(days=-1), "query_to": timedelta(days=-2)},
        {"query_from": "is after query_to, by 86400 s: swap them"},
    ),
]


@pytest.mark.parametrize("cls", [CreateKeyRequest, UpdateKeyRequest])
@pytest.mark.parametrize(("arguments", "faults"), IN_COMMON)
def test_fault_of_a_request(cls: type[Request], arguments: dict[str, Any], faults: dict[str, str]) -> None:
    """Each fault is told by its field, with what to do, before anything is sent."""
    assert faults_of(cls, **({"api_key_name": "grid-bot"} | arguments)) == faults


def test_all_faults_of_a_create_request_are_told_at_once() -> None:
    """One look is enough to mend a request."""
    found = faults_of(
        CreateKeyRequest,
        api_key_name="",
        permissions={},
        ip_allowlist=["x", "10.0.0.1/8"],
        nonce_window=True,
        query_from="a",
        query_to=-1,
        valid_until=float("inf"),
    )

    assert {
        "api_key_name",
        "permissions",
        "ip_allowlist",
        "nonce_window",
        "query_from",
        "query_to",
        "valid_until",
    } == found.keys()
    assert found["ip_allowlist"].startswith(f"'x' {NEITHER}, '10.0.0.1/8' has host bits set")


def test_all_faults_of_an_update_request_are_told_at_once() -> None:
    """The new name is among them, and faults between fields come with those of single ones."""
    found = faults_of(
        UpdateKeyRequest,
        api_key_name="n" * 33,
        new_api_key_name="",
        nonce_window=1.5,
        query_from=200,
        query_to=100,
        valid_until=1,
    )

    assert {"api_key_name", "new_api_key_name", "nonce_window", "query_from", "valid_until"} == found.keys()


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({}, {}),
        ({"query_from": 0, "query_to": 0, "valid_until": 0}, {"query_from": 0, "query_to": 0, "valid_until": 0}),
        ({"query_from": 100, "query_to": 0}, {"query_from": 100, "query_to": 0}),
        ({"query_from": 100, "query_to": 100}, {"query_from": 100, "query_to": 100}),
        ({"query_from": 100.9, "query_to": 100.1}, {"query_from": 100, "query_to": 100}),
        ({"valid_until": timedelta(days=7)}, {"valid_until": int(NOW) + 604_800}),
        ({"valid_until": FAR}, {"valid_until": FAR}),
    ],
)
@pytest.mark.parametrize("cls", [CreateKeyRequest, UpdateKeyRequest])
def test_times_are_resolved(cls: type[Request], arguments: dict[str, Any], sent: dict[str, int]) -> None:
    """Only what is set comes out; 0 is set, and means no restriction, so nothing comes after it."""
    made = resolve_times(cls("grid-bot", **arguments), NOW)

    assert made == sent
    assert {int} >= {type(moment) for moment in made.values()}


def test_time_may_pass_after_the_request_was_made() -> None:
    """Times are checked against the moment of sending once more."""
    request = CreateKeyRequest("grid-bot", valid_until=FAR)

    assert resolve_times(request, FAR - 1.0) == {"valid_until": FAR}
    with pytest.raises(InvalidRequestError, match="dead at birth") as caught:
        resolve_times(request, float(FAR))
    assert {"valid_until"} == caught.value.faults.keys()


def test_timedelta_counts_from_sending() -> None:
    """A template can be sent again and again: its `timedelta` never passes."""
    request = CreateKeyRequest("grid-bot", valid_until=timedelta(hours=1))

    assert resolve_times(request, NOW + 10**8) == {"valid_until": int(NOW) + 10**8 + 3600}


def test_defaults_of_a_create_request() -> None:
    """What is left out is nothing, but for the name."""
    assert (None, (), None, None, None, None) == attrs.astuple(CreateKeyRequest("grid-bot"))[1:]


def test_defaults_of_an_update_request() -> None:
    """What is left out is left alone, the allowlist too."""
    assert attrs.astuple(UpdateKeyRequest("grid-bot")) == ("grid-bot", *(None,) * 7)


def test_update_tells_an_empty_allowlist_from_none() -> None:
    """An empty list lifts the restriction; none leaves it."""
    assert UpdateKeyRequest("grid-bot", ip_allowlist=[]).ip_allowlist == ()
    assert UpdateKeyRequest("grid-bot").ip_allowlist is None


def test_update_needs_a_name() -> None:
    """There is no key to change without a name."""
    with pytest.raises(TypeError, match="api_key_name"):
        UpdateKeyRequest()  # type: ignore[call-arg]


def test_generated_names_are_unique_and_valid() -> None:
    """Each request without a name gets one of its own, which Kraken will take."""
    made = {CreateKeyRequest().api_key_name for _ in range(1000)}

    assert 1000 == len(made)
    assert all(name.startswith("fastkey-") and 8 < len(name) <= 32 and name.isascii() for name in made)


@pytest.mark.parametrize("cls", [CreateKeyRequest, UpdateKeyRequest])
@pytest.mark.parametrize(
    "entries",
    [
        list,
        tuple,
        iter,
        lambda texts: (text for text in texts),
        lambda texts: dict.fromkeys(texts).keys(),
        lambda texts: [ipaddress.ip_network(texts[0]), ipaddress.ip_address(texts[1])],
    ],
    ids=["list", "tuple", "iterator", "generator", "keys", "objects"],
)
def test_allowlist_may_be_any_iterable(cls: type[Request], entries: Callable[[list[str]], Any]) -> None:
    """Any iterable will do, one that can be gone through only once as well; it is made regular."""
    made = cls("grid-bot", ip_allowlist=entries(["203.0.113.0/24", "2001:DB8:0::1"]))

    assert made.ip_allowlist == ("203.0.113.0/24", "2001:db8::1")


def test_fault_in_an_iterator_is_told() -> None:
    """An iterator's entries are checked like a list's."""
    assert faults_of(CreateKeyRequest, ip_allowlist=iter(["not-an-ip"])) == {"ip_allowlist": f"'not-an-ip' {NEITHER}"}


def test_request_does_not_follow_the_list_it_was_given() -> None:
    """A list changed afterwards does not change the request."""
    entries = ["203.0.113.7"]
    request = CreateKeyRequest(ip_allowlist=entries)
    entries.append("203.0.113.8")

    assert request.ip_allowlist == ("203.0.113.7",)


@pytest.mark.parametrize(
    "instance",
    [CreateKeyRequest("grid-bot"), UpdateKeyRequest("grid-bot"), Permissions(), INFO, KEY, UserInfo()],
    ids=lambda instance: type(instance).__name__,
)
def test_is_frozen_and_slotted(instance: Any) -> None:
    """Nothing can be changed, and no misspelt attribute can be added."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(instance, attrs.fields(type(instance))[0].name, "other")
    with pytest.raises((AttributeError, TypeError)):
        instance.mispelt = 1
    assert not hasattr(instance, "__dict__")


@pytest.mark.parametrize("cls", [CreateKeyRequest, UpdateKeyRequest])
def test_only_the_name_is_positional(cls: type[Request]) -> None:
    """Fields after the name are keywords: two of them could be confused."""
    with pytest.raises(TypeError, match="positional"):
        cls("grid-bot", None)  # type: ignore[call-arg]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, repickle, attrs.evolve])
@given(request=create_requests | update_requests)
def test_request_survives_copies(again: Callable[[Request], Request], request: Request) -> None:
    """Any valid request comes out of a copy, a pickle and `evolve` equal, and hashes alike."""
    copied = again(request)

    assert copied == request
    assert hash(copied) == hash(request)
    assert repr(copied) == repr(request)


def test_evolve_checks_again() -> None:
    """A changed copy is checked like a new request."""
    request = CreateKeyRequest("grid-bot", nonce_window=5)

    assert attrs.evolve(request, api_key_name="other").nonce_window == 5
    assert {"nonce_window"} == faults_of(lambda: attrs.evolve(request, nonce_window=-1)).keys()


def test_check_of_the_future_uses_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a moment is in the future is judged by the clock when the request is made."""
    monkeypatch.setattr(time, "time", lambda: FAR + 10.0)

    assert {"valid_until"} == faults_of(CreateKeyRequest, valid_until=FAR).keys()
    assert CreateKeyRequest(valid_until=FAR + 11).valid_until == FAR + 11


# ---------------------------------------------------------------- permissions


def test_permissions_have_the_ten_documented_flags() -> None:
    """The flags are those of the OpenAPI description, in its order, and `extra`."""
    assert [field.name for field in attrs.fields(Permissions)] == [*Permissions.NAMES, "extra"]
    assert 10 == len(Permissions.NAMES)


def test_permissions_set_nothing_by_themselves() -> None:
    """Each flag is a choice."""
    assert Permissions().flags() == {}


def test_none_withholds_all() -> None:
    """Each documented flag is withheld, none left open."""
    assert Permissions.none().flags() == dict.fromkeys(Permissions.NAMES, False)


def test_read_only_grants_what_changes_nothing() -> None:
    """Balances, ledger, orders and trades can be seen; exports create reports."""
    granted = {name for name, flag in Permissions.read_only().flags().items() if flag}

    assert granted == {"funds_query", "ledger_query", "trades_query_closed", "trades_query_open"}
    assert Permissions.read_only().flags().keys() == set(Permissions.NAMES)


def test_only_grants_what_is_named() -> None:
    """What is documented is a flag of its own, what is not goes to `extra`."""
    made = Permissions.only("funds_query", "withdrawal_address_add")

    assert made.flags() == dict.fromkeys(Permissions.NAMES, False) | {
        "funds_query": True,
        "withdrawal_address_add": True,
    }
    assert made.extra == {"withdrawal_address_add": True}


@pytest.mark.parametrize(
    ("scopes", "granted"),
    [
        ([], set()),
        ("", set()),
        (f"{PREFIX}funds-query {PREFIX}trades-query-open", {"funds_query", "trades_query_open"}),
        (f"  {PREFIX}funds-query\n", {"funds_query"}),
        ([f"{PREFIX}funds-query", f"{PREFIX}funds-query"], {"funds_query"}),
        ({f"{PREFIX}export-data"}, {"export_data"}),
        (iter([f"{PREFIX}write", f"{PREFIX}read", f"{PREFIX}multiple"]), set()),
        (["account.info:basic", "openid", f"{PREFIX}funds-add"], {"funds_add"}),
        ([f"{PREFIX}withdrawal-address-add"], {"withdrawal_address_add"}),
        ([f"{PREFIX}", f"{PREFIX}funds-query"], {"funds_query"}),
        ([f"{PREFIX}funds.query", f"{PREFIX}a:b", f"{PREFIX}funds-query"], {"funds_query"}),
    ],
)
def test_from_scopes(scopes: Any, granted: set[str]) -> None:
    """Scopes grant their permissions; what is no permission's scope is passed over, whatever its form."""
    made = Permissions.from_scopes(scopes).flags()

    assert {name for name, flag in made.items() if flag} == granted
    assert made.keys() >= set(Permissions.NAMES)


def test_scopes_are_those_of_what_is_granted() -> None:
    """What is withheld or left open needs no scope."""
    made = Permissions(funds_query=True, funds_add=False, extra={"withdrawal_address_add": True, "x": False})

    assert made.scopes() == {f"{PREFIX}funds-query", f"{PREFIX}withdrawal-address-add"}


@given(st.sets(st.sampled_from(Permissions.NAMES)))
def test_scopes_and_permissions_are_inverse(granted: set[str]) -> None:
    """Permissions made of scopes need just those scopes."""
    made = Permissions.only(*granted)

    assert Permissions.from_scopes(made.scopes()) == made
    assert Permissions.from_scopes(" ".join(made.scopes())) == made


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"funds_query": 1}, {"permissions.funds_query": "must be True, False or None, not int"}),
        ({"funds_query": "true"}, {"permissions.funds_query": "must be True, False or None, not str"}),
        (
            {"funds_add": 0, "funds_earn": []},
            {
                "permissions.funds_add": "must be True, False or None, not int",
                "permissions.funds_earn": "must be True, False or None, not list",
            },
        ),
        ({"extra": ["a"]}, {"permissions.extra": "must be a mapping of names to flags, not list"}),
        ({"extra": {"a b": True}}, {"permissions.extra": "'a b' is no permission's name, which is written like_this"}),
        ({"extra": {"": True}}, {"permissions.extra": "'' is no permission's name, which is written like_this"}),
        ({"extra": {"é": True}}, {"permissions.extra": "'é' is no permission's name, which is written like_this"}),
        ({"extra": {5: True}}, {"permissions.extra": "5 is no permission's name, which is written like_this"}),
        (
            {"extra": {"funds_query": True}},
            {"permissions.extra": "'funds_query' is documented: give it as an argument of its own"},
        ),
        ({"extra": {"a": None}}, {"permissions.extra": "'a' must be True or False, not NoneType"}),
        ({"extra": {"a": 1}}, {"permissions.extra": "'a' must be True or False, not int"}),
    ],
)
def test_fault_of_permissions(arguments: dict[str, Any], faults: dict[str, str]) -> None:
    """A flag is a bool or nothing: 1 and "true" are mistakes that could grant."""
    assert faults_of(Permissions, **arguments) == faults


def test_misspelt_permission_is_refused() -> None:
    """A flag that does not exist is no argument."""
    with pytest.raises(TypeError, match="fund_query"):
        Permissions(fund_query=True)  # type: ignore[call-arg]


def test_extra_cannot_be_changed() -> None:
    """The mapping is a frozen copy of what was given."""
    given = {"withdrawal_address_add": True}
    made = Permissions(extra=given)
    given["other"] = True

    assert made.extra == {"withdrawal_address_add": True}
    with pytest.raises(TypeError, match="cannot be changed"):
        made.extra["other"] = True  # type: ignore[index]


def test_repr_of_permissions_shows_what_is_set() -> None:
    """The `repr` is short: what is left open is left out."""
    made = Permissions(funds_query=True, funds_add=False, extra={"withdrawal_address_add": True})

    assert repr(made) == "Permissions(funds_add=False, funds_query=True, withdrawal_address_add=True)"
    assert repr(Permissions()) == "Permissions()"


@given(permissions, st.dictionaries(flag_names, st.booleans(), max_size=2))
def test_equal_permissions_hash_alike(made: Permissions, extra: dict[str, bool]) -> None:
    """Copies and pickles are equal and hash alike; another `extra` is a difference."""
    for again in (copy.copy(made), copy.deepcopy(made), repickle(made), attrs.evolve(made)):
        assert made == again
        assert hash(made) == hash(again)
    assert (attrs.evolve(made, extra=extra) == made) is (extra == made.extra)


# ---------------------------------------------------------------- frozen dict

CHANGES: list[Callable[[Any], object]] = [
    lambda d: d.__setitem__("b", 2),
    lambda d: d.__delitem__("a"),
    lambda d: d.__ior__({"b": 2}),
    lambda d: d.clear(),
    lambda d: d.pop("a"),
    lambda d: d.popitem(),
    lambda d: d.setdefault("b", 2),
    lambda d: d.update(b=2),
]


@pytest.mark.parametrize("change", CHANGES)
def test_frozen_dict_refuses_changes(change: Callable[[Any], object]) -> None:
    """No method of a dict changes it."""
    frozen = FrozenDict({"a": 1})

    with pytest.raises(TypeError, match="cannot be changed"):
        change(frozen)
    assert frozen == {"a": 1}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, repickle])
def test_frozen_dict_survives_copies(again: Callable[[Any], Any]) -> None:
    """Copies and pickles are frozen as well, and equal."""
    frozen = FrozenDict({"a": [1]})

    assert (frozen, FrozenDict) == (again(frozen), type(again(frozen)))


# ---------------------------------------------------------------- responses


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, repickle, attrs.evolve])
def test_key_info_survives_copies(again: Callable[[KeyInfo], KeyInfo]) -> None:
    """A key's description may be stored and sent about; it holds nothing secret."""
    assert again(INFO) == INFO
    assert hash(again(INFO)) == hash(INFO)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, attrs.evolve])
def test_fast_api_key_survives_copies(again: Callable[[FastApiKey], FastApiKey]) -> None:
    """A copy in memory has the secret, too."""
    assert again(KEY) == KEY
    assert hash(again(KEY)) == hash(KEY)
    assert again(KEY).secret.get_secret_value() == SECRET


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_fast_api_key_cannot_be_pickled(protocol: int) -> None:
    """A pickle would hold the secret in clear."""
    with pytest.raises(TypeError) as caught:
        pickle.dumps(KEY, protocol)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("show", [repr, str, format, lambda key: str(attrs.asdict(key)), lambda key: f"{[key]!r}"])
def test_fast_api_key_hides_its_secret(show: Callable[[FastApiKey], str]) -> None:
    """The public half may be seen; the secret is masked in whatever shows the key."""
    assert "FAKE-public-half" in show(KEY)
    assert SECRET not in show(KEY)


def test_fast_api_key_needs_both_halves() -> None:
    """A key without its secret is none."""
    with pytest.raises(TypeError, match="secret"):
        FastApiKey(api_key_name="grid-bot", api_key="FAKE-public-half")  # type: ignore[call-arg]


def test_key_info_is_all_optional_but_the_name() -> None:
    """A missing optional field is None, but for the purpose, which Kraken describes with a default."""
    made = attrs.asdict(KeyInfo(api_key_name="grid-bot"))

    assert ("grid-bot", "standard", {}) == (made.pop("api_key_name"), made.pop("purpose"), made.pop("unknown"))
    assert {None} == set(made.values())


def test_repr_of_key_info_shows_names_of_unknown_fields_alone() -> None:
    """What a field that we do not know holds may be a secret."""
    made = KeyInfo(api_key_name="grid-bot", unknown=FrozenDict({"otp_seed": "FAKE-seed", "another": 1}))

    assert "unknown=['another', 'otp_seed']" in repr(made)
    assert "FAKE-seed" not in repr(made)


def test_repr_of_user_info_hides_who_it_is() -> None:
    """E-mail address and account number do not get into logs."""
    made = UserInfo(email="fake@example.com", iban="FAKE-IIBAN", unknown=FrozenDict({"phone": "FAKE-555"}))

    assert repr(made) == "UserInfo(unknown=['phone'])"
    assert ("fake@example.com", "FAKE-IIBAN") == (made.email, made.iban)
