"""The circuit and the queue in front of Redis."""

import asyncio

import pytest

from app.stores._base import StoreError, StoreNotAskedError
from app.stores._lane import MAX_BATCH, MAX_WAITING, Circuit, Lane


class _Pipeline:
    def __init__(self, client: "FakeClient") -> None:
        self._client = client
        self._commands: list[tuple[object, ...]] = []

    def execute_command(self, *command: object) -> None:
        self._commands.append(command)

    async def execute(self, *, raise_on_error: bool) -> list[object]:
        assert not raise_on_error
        self._client.batches.append(self._commands)
        await self._client.may_answer.wait()
        if self._client.error is not None:
            raise self._client.error
        return [command[1] for command in self._commands]


class FakeClient:
    """Answers every command with its first argument, when it may."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[object, ...]]] = []
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    def pipeline(self, *, transaction: bool) -> _Pipeline:
        assert not transaction
        return _Pipeline(self)

    async def aclose(self) -> None:
        """Nothing is open."""


def lane_to(client: FakeClient, *, timeout_s: float = 5.0, failures: int = 3) -> Lane:
    return Lane(
        lambda: client,
        scripts={},
        timeout_s=timeout_s,
        circuit=Circuit(failures=failures, open_s=60.0),
    )


def test_the_circuit_opens_after_failures_in_a_row_and_lets_one_probe_through():
    circuit = Circuit(failures=3, open_s=10.0)
    for now in (0.0, 1.0):
        circuit.failed(now)
    circuit.succeeded()
    for now in (2.0, 3.0):
        circuit.failed(now)
        assert circuit.allows(now)
    circuit.failed(4.0)
    assert not circuit.allows(13.9)
    assert circuit.allows(14.0)
    assert not circuit.allows(14.0)
    circuit.failed(15.0)
    assert not circuit.allows(24.9)
    assert circuit.allows(25.0)
    circuit.given_up()
    assert circuit.allows(25.0)
    circuit.succeeded()
    assert circuit.allows(25.0)
    assert circuit.allows(25.0)


async def test_calls_that_meet_share_a_batch_and_get_their_own_answers():
    client = FakeClient()
    client.may_answer.set()
    lane = lane_to(client)
    answers = await asyncio.gather(*(lane.call(("A", i), ("B", -i)) for i in range(300)))
    assert answers == [[i, -i] for i in range(300)]
    assert [len(batch) for batch in client.batches] == [MAX_BATCH, 600 - MAX_BATCH]
    await lane.aclose()


async def test_a_call_whose_caller_went_away_before_it_was_sent_is_not_sent():
    client = FakeClient()
    lane = lane_to(client)
    first = asyncio.create_task(lane.call(("A", 1)))
    while not client.batches:
        await asyncio.sleep(0)
    second, third = (asyncio.create_task(lane.call(("A", i))) for i in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    client.may_answer.set()
    assert [await first, await third] == [[1], [3]]
    assert client.batches == [[("A", 1)], [("A", 3)]]
    await lane.aclose()


async def test_the_queue_is_full_at_some_number():
    client = FakeClient()
    lane = lane_to(client)
    calls = [asyncio.create_task(lane.call(("A", 0)))]
    while not client.batches:
        await asyncio.sleep(0)
    calls += [asyncio.create_task(lane.call(("A", i))) for i in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(StoreNotAskedError, match="too many"):
        await lane.call(("A", 0))
    client.may_answer.set()
    assert len(await asyncio.gather(*calls)) == MAX_WAITING + 1
    assert await lane.call(("A", 7)) == [7]
    await lane.aclose()


async def test_a_call_does_not_wait_for_its_turn_longer_than_the_timeout():
    client = FakeClient()
    lane = lane_to(client, timeout_s=0.02)
    first = asyncio.create_task(lane.call(("A", 1)))
    await asyncio.sleep(0)
    second = asyncio.create_task(lane.call(*(("A", i) for i in range(MAX_BATCH))))
    third = asyncio.create_task(lane.call(("A", 3)))
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert len(client.batches) == 1
    assert not isinstance(results[0], StoreNotAskedError)
    assert isinstance(results[2], StoreNotAskedError)
    await lane.aclose()


async def test_whatever_the_client_raises_becomes_a_store_error():
    client = FakeClient()
    client.may_answer.set()
    lane = lane_to(client, failures=100)
    for error in (OSError("x"), AttributeError("x"), ValueError("x")):
        client.error = error
        with pytest.raises(StoreError):
            await lane.call(("A", 1))
    client.error = None
    assert await lane.call(("A", 1)) == [1]
    await lane.aclose()


async def test_a_lane_that_is_closed_fails_what_waits_and_what_comes():
    client = FakeClient()
    lane = lane_to(client)
    sent = asyncio.create_task(lane.call(("A", 1)))
    while not client.batches:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(lane.call(("A", 2)))
    await asyncio.sleep(0)
    await lane.aclose()
    results = await asyncio.gather(sent, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreNotAskedError]
    with pytest.raises(StoreNotAskedError, match="closed"):
        await lane.call(("A", 3))
