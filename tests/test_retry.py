"""When to try again, and after how long: decisions of numbers alone."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kraken_fastkey import (
    ApiError,
    AuthenticationError,
    ClientClosedError,
    FastKeyError,
    InvalidRequestError,
    Outcome,
    PermissionDeniedError,
    RateLimitedError,
    ResponseFormatError,
    RetryPolicy,
    ServiceUnavailableError,
    TemporaryLockoutError,
    TokenUnavailableError,
    TransportError,
    UnknownOutcomeError,
)
from kraken_fastkey._retry import RetryBudget

NOT_SENT = TransportError("x", outcome="not_sent")
LOST = TransportError("x", outcome="unknown")
UNBOUND = RetryPolicy(max_attempts=2_000_000, deadline=None)


def wait(
    error: FastKeyError = NOT_SENT,
    policy: RetryPolicy = UNBOUND,
    *,
    repeatable: bool = True,
    attempts: int = 1,
    elapsed: float = 0.0,
    random: float = 0.5,
) -> float | None:
    """Ask a policy how long to wait."""
    return policy.wait_before_retry(error, repeatable=repeatable, attempts=attempts, elapsed=elapsed, random=random)


def test_defaults() -> None:
    """The defaults are the documented ones."""
    assert RetryPolicy() == RetryPolicy(
        max_attempts=4, backoff=0.5, max_backoff=20.0, max_retry_after=60.0, deadline=120.0, budget=50
    )


@pytest.mark.parametrize(
    ("error", "repeat", "once"),
    [
        (NOT_SENT, True, True),
        (LOST, True, False),
        (RateLimitedError("x"), True, True),
        (RateLimitedError("x", outcome="unknown"), True, False),
        (ServiceUnavailableError("x"), True, False),
        (ServiceUnavailableError("x", outcome="refused"), False, False),
        (ResponseFormatError("x"), True, False),
        (ApiError("x"), False, False),
        (ApiError("x", outcome="unknown"), True, False),
        (AuthenticationError("x"), False, False),
        (PermissionDeniedError("x"), False, False),
        (TemporaryLockoutError("x"), False, False),
        (TemporaryLockoutError("x", outcome="unknown"), False, False),
        (TokenUnavailableError("x"), False, False),
        (ClientClosedError("x"), False, False),
        (InvalidRequestError({"a": "b"}), False, False),
    ],
)
def test_what_is_tried_again(error: FastKeyError, *, repeat: bool, once: bool) -> None:
    """What was not sent and what was throttled is; what may have been done, only where twice does no harm."""
    assert (wait(error, repeatable=True) is not None) is repeat
    assert (wait(error, repeatable=False) is not None) is once


@pytest.mark.parametrize(
    ("attempts", "bound"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 20.0), (8, 20.0), (1024, 20.0), (10**6, 20.0)],
)
@pytest.mark.parametrize("random", [0.0, 0.25, 0.5, 0.999])
def test_full_jitter(attempts: int, bound: float, random: float) -> None:
    """A wait is a random part of a bound that doubles up to the greatest."""
    assert wait(attempts=attempts, random=random) == bound * random


@pytest.mark.parametrize(
    ("retry_after", "waited"),
    [(None, 0.25), (0.0, 0.25), (0.1, 0.25), (0.25, 0.25), (5.0, 5.0), (60.0, 60.0), (60.001, None), (1e300, None)],
)
def test_retry_after(retry_after: float | None, waited: float | None) -> None:
    """Not less is waited than Kraken asked for; if that is too long, the call gives up at once."""
    assert wait(RateLimitedError("x", retry_after=retry_after)) == waited


@pytest.mark.parametrize(("most", "waited"), [(0.0, None), (6.9, None), (7.0, 7.0), (600.0, 7.0)])
def test_max_retry_after(most: float, waited: float | None) -> None:
    """The longest wait that is obeyed is the user's to set."""
    policy = RetryPolicy(max_retry_after=most)

    assert wait(RateLimitedError("x", retry_after=7.0), policy) == waited


def test_no_wait_at_all_can_be_asked_for() -> None:
    """With the longest wait 0, what asks for none is still tried again."""
    assert wait(RateLimitedError("x"), RetryPolicy(max_retry_after=0)) == 0.25


@pytest.mark.parametrize(
    ("most", "attempts", "again"),
    [(1, 1, False), (2, 1, True), (2, 2, False), (4, 3, True), (4, 4, False), (4, 5, False)],
)
def test_max_attempts(most: int, attempts: int, *, again: bool) -> None:
    """After the last attempt there is no other."""
    assert (wait(policy=RetryPolicy(max_attempts=most), attempts=attempts) is not None) is again


@pytest.mark.parametrize(
    ("deadline", "elapsed", "waited"),
    [
        (10.0, 0.0, 0.25),
        (10.0, 8.75, 0.25),
        (10.0, 8.7501, None),
        (10.0, 9.0, None),
        (10.0, 10.0, None),
        (10.0, 1e9, None),
        (0.25, 0.0, None),
        (None, 1e300, 0.25),
    ],
)
def test_deadline(deadline: float | None, elapsed: float, waited: float | None) -> None:
    """A wait that would leave less than a tenth of the deadline for the attempt is not begun."""
    assert wait(policy=RetryPolicy(deadline=deadline), elapsed=elapsed) == waited


def test_deadline_wins_over_retry_after() -> None:
    """What Kraken asks for does not prolong a call."""
    policy = RetryPolicy(deadline=10)

    assert wait(RateLimitedError("x", retry_after=9.0), policy) == 9.0
    assert wait(RateLimitedError("x", retry_after=9.1), policy) is None


@pytest.mark.parametrize(
    ("error", "asked"), [(NOT_SENT, 1), (PermissionDeniedError("x"), 0), (ServiceUnavailableError("x"), 0)]
)
@pytest.mark.parametrize("answer", [True, False])
def test_retry_if_narrows_only(error: FastKeyError, asked: int, *, answer: bool) -> None:
    """The function can forbid what is safe; it is not even asked about what is not."""
    seen: list[FastKeyError] = []

    def decide(error: FastKeyError) -> bool:
        seen.append(error)
        return answer

    waited = wait(error, RetryPolicy(retry_if=decide), repeatable=False)

    assert seen == [error] * asked
    assert (waited is not None) is (answer and bool(asked))


def test_retry_if_is_not_asked_after_the_last_attempt() -> None:
    """There is nothing to decide."""

    def decide(_: FastKeyError) -> bool:
        raise AssertionError

    assert wait(policy=RetryPolicy(max_attempts=3, retry_if=decide), attempts=3) is None


SECONDS = st.floats(0, 1e6, exclude_min=True)
OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from(["refused", "not_sent", "unknown"])
ERRORS: st.SearchStrategy[FastKeyError] = st.builds(
    lambda cls, outcome, retry_after: cls("x", outcome=outcome, retry_after=retry_after),
    st.sampled_from([TransportError, RateLimitedError, ServiceUnavailableError, ApiError, ResponseFormatError]),
    OUTCOMES,
    st.none() | st.floats(0, 1e9),
)


@given(
    error=ERRORS,
    backoffs=st.tuples(SECONDS, SECONDS).map(sorted),
    deadline=st.none() | SECONDS,
    repeatable=st.booleans(),
    attempts=st.integers(1, 10**6),
    elapsed=st.floats(0, 1e6),
    random=st.floats(0, 1, exclude_max=True),
)
def test_any_wait_keeps_its_bounds(
    error: FastKeyError,
    backoffs: list[float],
    deadline: float | None,
    attempts: int,
    elapsed: float,
    random: float,
    *,
    repeatable: bool,
) -> None:
    """Any wait is not negative, not longer than the bound or what was asked, and ends before the deadline."""
    policy = RetryPolicy(
        max_attempts=10**6 + 1, backoff=backoffs[0], max_backoff=backoffs[1], deadline=deadline, max_retry_after=3600
    )
    waited = wait(error, policy, repeatable=repeatable, attempts=attempts, elapsed=elapsed, random=random)

    if waited is not None:
        asked = error.retry_after or 0.0
        assert 0 <= asked <= waited <= max(asked, backoffs[1])
        assert asked <= 3600
        assert deadline is None or elapsed + waited <= deadline * 0.9
        assert repeatable or error.outcome != "unknown"


@given(SECONDS, st.floats(1, 1e6), st.floats(0, 1, exclude_max=True))
def test_bound_grows_and_stays(backoff: float, factor: float, random: float) -> None:
    """For the same random number, waits never get shorter, and stop at the greatest."""
    policy = RetryPolicy(max_attempts=10**9, backoff=backoff, max_backoff=backoff * factor, deadline=None)
    waits = [wait(policy=policy, attempts=n, random=random) or 0.0 for n in (*range(1, 40), 1000, 1025, 10**6, 10**8)]

    assert waits == sorted(waits)
    assert waits[-1] == backoff * factor * random


@pytest.mark.parametrize("attempts", [1, 2, 1000, 1024, 1025, 10**6])
@pytest.mark.parametrize(("backoff", "most"), [(5e-324, 1e308), (1e308, 1e308), (5e-324, 5e-324), (1, 1.7e308)])
def test_extreme_numbers_do_not_overflow(backoff: float, most: float, attempts: int) -> None:
    """No number of attempts and no bound makes a wait infinite or negative."""
    policy = RetryPolicy(max_attempts=10**7, backoff=backoff, max_backoff=most, deadline=None)
    waited = wait(policy=policy, attempts=attempts, random=0.999)

    assert waited is not None
    assert 0 <= waited <= most
    assert math.isfinite(waited)


BAD: list[tuple[str, list[Any], str]] = [
    ("max_attempts", [0, -1, 1.0, True, "4", None], "must be an int, 1 or more"),
    (
        "backoff",
        [0, -1, math.nan, math.inf, True, "1", None, pytest.param(10**400, id="10**400")],
        "must be seconds, more than 0",
    ),
    (
        "max_backoff",
        [0.4, -1, math.nan, math.inf, True, "1", None, pytest.param(10**400, id="10**400")],
        "must be seconds, not less than backoff",
    ),
    (
        "max_retry_after",
        [-1, -0.001, math.nan, math.inf, False, "1", None, pytest.param(10**400, id="10**400")],
        "must be seconds, 0 or more",
    ),
    (
        "deadline",
        [0, -1, math.nan, math.inf, True, "1", pytest.param(10**400, id="10**400")],
        "must be seconds, more than 0, or None for no bound",
    ),
    ("budget", [-1, 1.5, True, "1", None], "must be an int, 0 or more"),
    ("retry_if", [None, True, "x"], "must be a function from an error to a bool"),
]


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        pytest.param(field, *getattr(value, "values", (value,)), fault, id=f"{field}-{getattr(value, 'id', value)}")
        for field, values, fault in BAD
        for value in values
    ],
)
def test_argument_is_refused(field: str, value: Any, fault: str) -> None:
    """A number that makes no sense is refused with its range, whatever the annotation let through."""
    with pytest.raises(InvalidRequestError) as caught:
        RetryPolicy(**{field: value})

    assert caught.value.faults == {f"retry.{field}": fault}


def test_all_faults_are_told_at_once() -> None:
    """One look is enough to mend a policy; a wrong `backoff` does not make `max_backoff` wrong."""
    with pytest.raises(InvalidRequestError) as caught:
        RetryPolicy(
            max_attempts=0,
            backoff=-1,
            max_backoff=-1,
            max_retry_after=-1,
            deadline=-1,
            budget=-1,
            retry_if=None,  # type: ignore[arg-type]
        )
    assert [f"retry.{field}" for field, *_ in BAD] == list(caught.value.faults)

    with pytest.raises(InvalidRequestError) as caught:
        RetryPolicy(backoff=-1, max_backoff=0.0)
    assert {"retry.backoff"} == caught.value.faults.keys()


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_attempts": 1},
        {"backoff": 5e-324},
        {"backoff": 20, "max_backoff": 20},
        {"max_retry_after": 0},
        {"deadline": None},
        {"deadline": 1},
        {"budget": 0},
    ],
)
def test_limits_are_allowed(arguments: dict[str, Any]) -> None:
    """Each range includes its ends, and ints are seconds as well."""
    policy = RetryPolicy(**arguments)

    assert {name: getattr(policy, name) for name in arguments} == arguments


@pytest.mark.parametrize("make", [lambda: RetryPolicy(3), lambda: setattr(RetryPolicy(), "backoff", 1)])  # type: ignore[call-arg]
def test_policy_is_keywords_only_and_frozen(make: Callable[[], object]) -> None:
    """Numbers without names could be confused, and a policy is shared."""
    with pytest.raises((TypeError, AttributeError)):
        make()


def test_unknown_outcome_error_is_never_blindly_repeated() -> None:
    """What the client could not find out by looking, it does not do again."""
    assert wait(UnknownOutcomeError("x", api_key_name="a"), repeatable=False) is None


# ---------------------------------------------------------------- budget


def take_all(budget: RetryBudget, now: float, most: int = 10_000) -> int:
    """Take as many retries as there are, and return how many there were."""
    return next((n for n in range(most) if not budget.take(now)), most)


@pytest.mark.parametrize("capacity", [0, 1, 2, 50])
def test_budget_begins_full(capacity: int) -> None:
    """At first there are as many retries as it holds, whatever the clock says."""
    assert [capacity] * 3 == [take_all(RetryBudget(capacity), now) for now in (0.0, -1e9, 1e12)]


@pytest.mark.parametrize(
    ("seconds", "retries"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (100, 10), (500, 50), (501, 50), (1e12, 50)]
)
def test_time_brings_retries_back(seconds: float, retries: int) -> None:
    """Each second brings back a tenth of one, up to what it holds."""
    budget = RetryBudget(50)
    take_all(budget, 1000.0)

    assert take_all(budget, 1000.0 + seconds) == retries


def test_time_passes_in_small_steps_as_in_great_ones() -> None:
    """Asking in vain does not use up the time."""
    budget = RetryBudget(5)
    take_all(budget, 0.0)
    taken = sum(budget.take(second / 4) for second in range(4 * 101))

    assert 9 <= taken <= 10


@pytest.mark.parametrize(("successes", "retries"), [(0, 0), (9, 0), (10, 1), (20, 2), (100, 10), (10_000, 50)])
def test_successes_bring_retries_back(successes: int, retries: int) -> None:
    """Each success brings back a tenth of one, so ten bring one, up to what it holds."""
    budget = RetryBudget(50)
    take_all(budget, 0.0)
    for _ in range(successes):
        budget.succeed()

    assert take_all(budget, 0.0) == retries


def test_empty_budget_stays_empty() -> None:
    """A budget of none never has one."""
    budget = RetryBudget(0)
    for _ in range(100):
        budget.succeed()

    assert 0 == take_all(budget, 1e9)


def test_clock_that_goes_back_does_no_harm() -> None:
    """Time that goes back takes nothing away, and gives nothing, not even when it goes on again."""
    budget = RetryBudget(10)
    assert budget.take(1000.0)
    assert budget.take(0.0)

    assert 8 == take_all(budget, 0.0)
    assert 0 == take_all(budget, 1000.0)
    assert 1 == take_all(budget, 1010.0)


@pytest.mark.parametrize("capacity", [0, 10, 50])
def test_amplification_is_bounded(capacity: int) -> None:
    """In a minute's outage a thousand calls send little more than a thousand requests."""
    budget = RetryBudget(capacity)
    retries = sum(budget.take(60.0 * n / 3000) for n in range(3000))

    assert retries <= capacity + 6


@given(st.integers(0, 60), st.lists(st.none() | st.floats(0, 30), max_size=200))
def test_budget_never_gives_more_than_came_in(capacity: int, steps: list[float | None]) -> None:
    """Retries taken are no more than it held at first, and what successes and seconds brought."""
    budget = RetryBudget(capacity)
    now, taken, brought = 0.0, 0, float(capacity)
    for step in steps:
        if step is None:
            budget.succeed()
            brought += 0.1
        else:
            now += step
            brought += step * 0.1
            taken += budget.take(now)

    assert taken <= brought + 1e-6
