import asyncio

from app.recording import MAX_WAITING, Recorder


def recorder(logged, told=None):
    def tell(outcome, at):
        if outcome == "bad":
            raise RuntimeError(outcome)
        if told is not None:
            told.append((outcome, at))

    return Recorder(tell=tell, log=lambda ended: logged.append(list(ended)), now=lambda: 7.0)


async def test_outcomes_are_told_together_after_a_moment():
    told = []
    record = recorder(told).record
    record("one")
    record("two")
    assert told == []
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0.001)
    assert told == [[("one", 7.0), ("two", 7.0)]]


async def test_many_are_told_at_once_and_none_twice():
    told = []
    recording = recorder(told)
    for number in range(2 * MAX_WAITING + 1):
        recording.record(number)
    assert [len(each) for each in told] == [MAX_WAITING, MAX_WAITING]
    recording.drain()
    recording.drain()
    assert [outcome for each in told for outcome, _ in each] == list(range(2 * MAX_WAITING + 1))


async def test_one_that_cannot_be_told_of_keeps_no_other_from_it(caplog):
    logged, told = [], []
    recording = recorder(logged, told)
    for outcome in ("one", "bad", "two"):
        recording.record(outcome)
    recording.drain()
    assert told == [("one", 7.0), ("two", 7.0)]
    assert [outcome for outcome, _ in logged[0]] == ["one", "bad", "two"]
    assert "an outcome could not be told of" in caplog.text
