"""Faults for ever, by chance, by script, and drawn from many."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from sandbox_kit import Kit, running

from kraken_fastkey.sandbox import Answer, Disconnect, Fault, Faults, Hang, LateCommit, OneOf, PendingFault, Reset

BUSY = Answer(503, {"error": ["EService:Busy"]})


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


def dealt(faults: Faults, count: int, operation: str = "list_keys") -> list[Fault | None]:
    """Return what the next requests of an operation would meet."""
    return [faults.take(operation) for _ in range(count)]


async def test_for_ever(kit: Kit) -> None:
    """A fault with no number of times happens until it is cleared, and is pending all the while."""
    kit.sandbox.faults.add(BUSY, operation="list_keys", times=None)
    assert [503] * 5 == [await kit.try_list() for _ in range(5)]
    assert (PendingFault(BUSY, "list_keys", None),) == kit.sandbox.faults.pending
    assert 200 == await kit.try_create()
    kit.sandbox.faults.clear()
    assert not kit.sandbox.faults.pending
    assert 200 == await kit.try_list()


async def test_for_ever_stands_in_front_of_what_follows(kit: Kit) -> None:
    """First in, first out: what is added behind a fault for ever has no turn, but for another operation's."""
    faults = kit.sandbox.faults
    faults.add(BUSY, operation="list_keys", times=None)
    faults.add(Answer(500))
    assert [503, 500, 503, 200] == [
        await kit.try_list(),
        await kit.try_create("a"),
        await kit.try_list(),
        await kit.try_create("b"),
    ]


async def test_script(kit: Kit) -> None:
    """The next requests of an operation meet the steps in turn; others meet none."""
    kit.sandbox.faults.script("create_key", [None, BUSY, None, Disconnect(commit=True), Answer(500)])
    met = []
    for name in ("a", "b", "c", "d", "e", "f"):
        met.append(await kit.try_create(name))
        assert 200 == await kit.try_list()
    assert [200, 503, 200, None, 500, 200] == met
    assert ["a", "c", "d", "f"] == kit.names()
    assert () == kit.sandbox.faults.pending


def test_script_is_pending_step_by_step() -> None:
    """Each step waits for its request, a step without a fault, too."""
    faults = Faults()
    faults.script("list_keys", [None, BUSY])
    steps = [PendingFault(None, "list_keys", 1), PendingFault(BUSY, "list_keys", 1)]
    assert steps == list(faults.pending)
    faults.take("list_keys")
    assert steps[1:] == list(faults.pending)


def test_script_lines_up() -> None:
    """A script comes behind what is pending, and what is added later comes behind the script."""
    faults = Faults()
    faults.add(Answer(500))
    faults.script("list_keys", iter([None, Answer(501)]))
    faults.script("list_keys", [])
    faults.add(Answer(502))
    assert [Answer(500), None, Answer(501), Answer(502), None] == dealt(faults, 5)


def test_script_for_any_operation() -> None:
    """Without an operation, the steps are for whatever comes."""
    faults = Faults()
    faults.script(None, [BUSY, None, Reset()])
    assert [BUSY, None, Reset()] == [faults.take(name) for name in ("token", "list_keys", "create_key")]


def test_step_that_goes_well_shields_from_what_follows() -> None:
    """A request that meets a step without a fault meets no other fault either."""
    faults = Faults()
    faults.script("list_keys", [None])
    faults.add(BUSY, times=None)
    assert [None, BUSY, BUSY] == dealt(faults, 3)


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.9])
def test_probability(probability: float) -> None:
    """A fault happens to about as many requests as it should."""
    faults = Faults(seed=1)
    faults.add(BUSY, times=None, probability=probability)
    met = Counter(dealt_fault is BUSY for dealt_fault in dealt(faults, 10_000))
    assert 10_000 * probability == pytest.approx(met[True], abs=200)


def test_probability_of_nought_and_one() -> None:
    """Never is never, and always is always."""
    faults = Faults(seed=1)
    faults.add(Answer(500), times=None, probability=0)
    faults.add(BUSY, times=None, probability=1)
    assert [BUSY] * 100 == dealt(faults, 100)


def test_probability_with_times() -> None:
    """What is counted is how many times it happens, not how many requests it could have happened to."""
    faults = Faults(seed=1)
    faults.add(BUSY, times=3, probability=0.2)
    assert 3 == dealt(faults, 1000).count(BUSY)
    assert () == faults.pending


def test_die_is_thrown_for_each_in_order() -> None:
    """A fault that does not happen leaves the request to the next; together they share the requests."""
    faults = Faults(seed=1)
    faults.add(Answer(500), times=None, probability=0.5)
    faults.add(Answer(501), times=None, probability=0.5)
    met = Counter(fault.status if isinstance(fault, Answer) else 0 for fault in dealt(faults, 10_000))
    assert {500: 5000, 501: 2500, 0: 2500} == pytest.approx(met, abs=200)


def test_other_operations_throw_no_die() -> None:
    """What happens to one operation does not depend on how many requests of another there are."""
    first, second = Faults(seed=1), Faults(seed=1)
    for faults in (first, second):
        faults.add(BUSY, operation="list_keys", times=None, probability=0.5)
    dealt(second, 17, "create_key")
    assert dealt(first, 50) == dealt(second, 50)


def test_seed() -> None:
    """The same seed gives the same faults, another others; chance can begin anew."""
    mix = OneOf([Answer(status) for status in range(500, 600)])

    def course(faults: Faults) -> list[Fault | None]:
        """Return what twenty requests meet."""
        faults.clear()
        faults.add(mix, times=None, probability=0.5)
        return dealt(faults, 20)

    faults = Faults(seed=1)
    first, onwards = course(faults), course(faults)
    faults.seed(1)
    assert [first, onwards] == [course(faults), course(faults)]
    assert first != onwards
    assert first == course(Faults(seed=1))
    assert first != course(Faults(seed=2))
    assert course(Faults()) != course(Faults())


async def test_seed_of_the_sandbox() -> None:
    """The sandbox's own seed fixes chance, too; the keys do not depend on it."""
    courses = []
    for probability in (0.5, 0.5, 0):
        async with running(seed=5, max_keys=1) as kit:
            kit.sandbox.faults.add(BUSY, operation="list_keys", times=None, probability=probability)
            statuses = [await kit.try_list() for _ in range(20)]
            await kit.create()
            courses.append((statuses, kit.sandbox.keys()[0].secret))
    assert courses[0] == courses[1]
    assert courses[0][0] != courses[2][0]
    assert courses[0][1] == courses[2][1]


async def test_log_tells_what_happened(kit: Kit) -> None:
    """Each request in the log has the fault that it met, of several the one that was drawn."""
    kit.sandbox.faults.script("list_keys", [OneOf([BUSY]), None])
    for _ in range(3):
        await kit.try_list()
    assert [BUSY, None, None] == [request.fault for request in kit.sandbox.requests]


def test_one_of_draws_anew_each_time() -> None:
    """Each is as likely as another."""
    faults = Faults(seed=1)
    faults.add(OneOf([Answer(500), Answer(501), None, Disconnect()]), times=None)
    met = Counter(repr(fault) for fault in dealt(faults, 10_000))
    assert dict.fromkeys(map(repr, [Answer(500), Answer(501), None, Disconnect()]), 2500) == pytest.approx(met, abs=200)


def test_one_of_with_weights() -> None:
    """A weight says how likely one is, compared with the others; 0 is never."""
    faults = Faults(seed=1)
    faults.add(OneOf([Answer(500), Answer(501), Answer(502)], weights=[3, 1, 0]), times=None)
    met = Counter(fault.status for fault in dealt(faults, 10_000) if isinstance(fault, Answer))
    assert {500: 7500, 501: 2500} == pytest.approx(met, abs=200)


def test_one_of_takes_what_has_no_hash() -> None:
    """A body may be a dict; faults are no keys of anything."""
    with pytest.raises(TypeError):
        hash(BUSY)
    assert BUSY == OneOf([BUSY]).draw(Faults(seed=1)._rng)


def test_one_of_takes_any_iterable() -> None:
    """What it was made of can be changed without changing it."""
    given: list[Fault] = [Hang()]
    made = OneOf(given)
    given.clear()
    assert OneOf(iter([Hang()]), iter([2])) != made == OneOf((Hang(),))


def test_one_of_one_of() -> None:
    """What is drawn may draw itself; a script may hold it."""
    faults = Faults(seed=1)
    faults.script("list_keys", [OneOf([OneOf([BUSY])]), None])
    assert [BUSY, None] == dealt(faults, 2)


async def test_soak(kit: Kit) -> None:
    """With nearly a third of all requests spoilt, the truth and the log agree on what was done."""
    # Reused connections that are dropped make aiohttp repeat a GET by itself; a POST is sent once.
    kit.sandbox.faults.add(
        OneOf([BUSY, Answer(502, commit=True), Disconnect(), Disconnect(commit=True), LateCommit(1000)]),
        times=None,
        probability=0.3,
    )
    for number in range(90):
        await kit.try_create(str(number))
    done = [
        str(number)
        for number, request in enumerate(kit.sandbox.requests)
        if request.fault is None or request.fault.commit
    ]
    assert done == kit.names()
    late = sum(isinstance(request.fault, LateCommit) for request in kit.sandbox.requests)
    assert late > 0
    kit.clock.now += 1000
    assert len(done) + late == len(kit.names())


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_probabilities_that_are_none(probability: float) -> None:
    """A probability is from 0 to 1."""
    faults = Faults()
    with pytest.raises(ValueError, match="probability"):
        faults.add(BUSY, probability=probability)
    assert () == faults.pending


WRONG: list[tuple[Callable[[Faults], object], type[Exception], str]] = [
    (lambda faults: faults.add("503"), TypeError, "str is no fault"),  # type: ignore[arg-type]
    (lambda faults: faults.add(None), TypeError, "None"),  # type: ignore[arg-type]
    (lambda faults: faults.add(BUSY, times=-1), ValueError, "times"),
    (lambda faults: faults.script("list", [BUSY]), ValueError, "no operation 'list'"),
    (lambda faults: faults.script("list_keys", [BUSY, 503]), TypeError, "int is no fault"),  # type: ignore[list-item]
    (lambda _: OneOf([]), ValueError, "needs a fault"),
    (lambda _: OneOf([500]), TypeError, "int is no fault"),  # type: ignore[list-item]
    (lambda _: OneOf([BUSY], [1, 2]), ValueError, "as many weights"),
    (lambda _: OneOf([BUSY, Hang()], [0, 0]), ValueError, "not all of them 0"),
    (lambda _: OneOf([BUSY, Hang()], [2, -1]), ValueError, "0 or more"),
    (lambda _: OneOf([BUSY, Hang()], [2, math.inf]), ValueError, "0 or more"),
    (lambda _: OneOf([BUSY, Hang()], [2, math.nan]), ValueError, "0 or more"),
]


@pytest.mark.parametrize(("use", "error", "message"), WRONG)
def test_wrong_use(use: Callable[[Faults], object], error: type[Exception], message: str) -> None:
    """What cannot be is an error at once, and leaves the queue as it is."""
    faults = Faults()
    with pytest.raises(error, match=message):
        use(faults)
    assert () == faults.pending
