import asyncio
from dataclasses import dataclass

from app.outcomes.recorder import MAX_WAITING, Recorder


@dataclass
class Ended:
    name: str
    is_bare_decision: bool = False
    is_canary: bool = False


class Figures:
    def __init__(self):
        self.counted = []

    def record(self, outcome):
        if outcome.name == "bad":
            raise RuntimeError(outcome)
        self.counted.append(outcome.name)


def recorder(logged, figures=None):
    return Recorder(
        metrics=figures or Figures(),
        log=lambda ended: logged.append([(outcome.name, at) for outcome, at in ended]),
        now=lambda: 7.0,
    )


async def test_outcomes_are_told_together_after_a_moment():
    told = []
    record = recorder(told).record
    record(Ended("one"))
    record(Ended("two"))
    assert told == []
    async with asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.001)
    assert told == [[("one", 7.0), ("two", 7.0)]]


async def test_many_are_told_at_once_and_none_twice():
    told = []
    recording = recorder(told)
    for number in range(2 * MAX_WAITING + 1):
        recording.record(Ended(number))
    assert [len(each) for each in told] == [MAX_WAITING, MAX_WAITING]
    recording.drain()
    recording.drain()
    assert [outcome for each in told for outcome, _ in each] == list(range(2 * MAX_WAITING + 1))


async def test_one_that_cannot_be_told_of_keeps_no_other_from_it(caplog):
    logged, figures = [], Figures()
    recording = recorder(logged, figures)
    for name in ("one", "bad", "two"):
        recording.record(Ended(name))
    recording.drain()
    assert figures.counted == ["one", "two"]
    assert [outcome for outcome, _ in logged[0]] == ["one", "bad", "two"]
    assert "an outcome could not be told of" in caplog.text


async def test_a_bare_decision_is_counted_and_stands_nowhere_else():
    logged, figures = [], Figures()
    recording = recorder(logged, figures)
    recording.record(Ended("decided", is_bare_decision=True))
    assert figures.counted == ["decided"]
    recording.drain()
    assert logged == []
