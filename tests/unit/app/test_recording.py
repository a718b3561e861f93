import asyncio

from app.recording import MAX_WAITING, Recorder


def recorder(told, **options):
    return Recorder(tell=lambda ended: told.append(list(ended)), now=lambda: 7.0, **options)


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


async def test_who_fails_to_be_told_fails_nobody_else(caplog):
    def tell(_ended):
        raise RuntimeError("full")

    recording = Recorder(tell=tell)
    recording.record("one")
    recording.drain()
    assert "1 outcomes could not be told of" in caplog.text
