"""The circuit and the queue in front of Redis."""

import asyncio

import hiredis
import pytest
from hiredis import ReplyError

from app.redis_client.connection import Command, Done
from app.redis_client.pipeline import MAX_BATCH, MAX_WAITING, Pipeline, PipelineCircuit
from app.stores.base import StoreError, StoreNotAskedError, UnusableValueError

pytestmark = pytest.mark.virtual_time


class FakeLink:
    """Answers every command with its first argument, when it may."""

    def __init__(self, client: "FakeClient") -> None:
        self._client = client
        self.is_open = True

    def send(self, packed: bytes, n_commands: int, done: Done) -> None:
        if self._client.refuses is not None:
            raise self._client.refuses
        commands = unpacked(packed)
        assert len(commands) == n_commands
        task = asyncio.ensure_future(self._answer(commands, done))
        self._client.tasks.append(task)

    def close(self) -> None:
        self.is_open = False

    async def wait_closed(self) -> None:
        """Return: it is closed at once."""

    async def _answer(self, commands: list[Command], done: Done) -> None:
        self._client.batches.append(commands)
        await self._client.may_answer.wait()
        answers = [self._client.says.get(command[0], command[1]) for command in commands]
        done(self._client.error or answers)


def unpacked(packed: bytes) -> list[Command]:
    """Take sent commands apart; what looks like a number is one."""
    reader = hiredis.Reader(notEnoughData=b"", encoding="utf-8")
    reader.feed(packed)
    commands = iter(reader.gets, b"")
    return [
        tuple(int(word) if word.lstrip("-").isdigit() else word for word in command)
        for command in commands
    ]


class FakeClient:
    """Connects, when it may, to whoever answers."""

    def __init__(self) -> None:
        self.batches: list[list[Command]] = []
        self.links: list[FakeLink] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.may_connect = asyncio.Event()
        self.may_connect.set()
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None
        self.refuses: Exception | None = None
        self.says: dict[object, object] = {}

    async def connect(self) -> FakeLink:
        await self.may_connect.wait()
        self.links.append(FakeLink(self))
        return self.links[-1]


def pipeline_to(client: FakeClient, *, timeout_s: float = 5.0, failures: int = 3) -> Pipeline:
    return Pipeline(
        client.connect,
        scripts={"sha": "return 1"},
        timeout_s=timeout_s,
        circuit=PipelineCircuit(failures=failures, open_s=60.0),
    )


def test_the_circuit_opens_after_failures_in_a_row_and_lets_one_probe_through():
    circuit = PipelineCircuit(failures=3, open_s=10.0)
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
    pipeline = pipeline_to(client)
    answers = await asyncio.gather(*(pipeline.call(("A", i), ("B", -i)) for i in range(300)))
    assert answers == [[i, -i] for i in range(300)]
    assert [len(batch) for batch in client.batches] == [MAX_BATCH, 600 - MAX_BATCH]
    await pipeline.aclose()


async def test_a_call_that_cannot_be_packed_fails_alone(caplog):
    client = FakeClient()
    client.may_answer.set()
    pipeline = pipeline_to(client, failures=1)
    good = [asyncio.create_task(pipeline.call(("A", i))) for i in range(3)]
    for poison in ("\ud800", 1.5j, None):
        with pytest.raises(UnusableValueError, match="cannot be said"):
            await pipeline.call(("A", poison))
    assert await asyncio.gather(*good) == [[0], [1], [2]]
    # The circuit counts failures of Redis, not of callers.
    assert await pipeline.call(("A", 4)) == [4]
    await pipeline.aclose()


async def test_a_call_whose_caller_went_away_before_it_was_sent_is_not_sent():
    client = FakeClient()
    pipeline = pipeline_to(client)
    first = asyncio.create_task(pipeline.call(("A", 1)))
    while not client.batches:
        await asyncio.sleep(0)
    second, third = (asyncio.create_task(pipeline.call(("A", i))) for i in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    client.may_answer.set()
    assert [await first, await third] == [[1], [3]]
    assert client.batches == [[("A", 1)], [("A", 3)]]
    await pipeline.aclose()


async def test_the_queue_is_full_at_some_number():
    client = FakeClient()
    pipeline = pipeline_to(client)
    calls = [asyncio.create_task(pipeline.call(("A", 0)))]
    while not client.batches:
        await asyncio.sleep(0)
    calls += [asyncio.create_task(pipeline.call(("A", i))) for i in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(StoreNotAskedError, match="too many"):
        await pipeline.call(("A", 0))
    client.may_answer.set()
    assert len(await asyncio.gather(*calls)) == MAX_WAITING + 1
    assert await pipeline.call(("A", 7)) == [7]
    await pipeline.aclose()


async def test_a_call_does_not_wait_for_its_turn_longer_than_the_timeout():
    client = FakeClient()
    pipeline = pipeline_to(client, timeout_s=0.02)
    first = asyncio.create_task(pipeline.call(("A", 1)))
    await asyncio.sleep(0)
    second = asyncio.create_task(pipeline.call(*(("A", i) for i in range(MAX_BATCH))))
    third = asyncio.create_task(pipeline.call(("A", 3)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().pass_time(0.019)  # late by a moment, they have waited longer
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert len(client.batches) == 1
    assert not isinstance(results[0], StoreNotAskedError)
    assert isinstance(results[2], StoreNotAskedError)
    await pipeline.aclose()


async def test_whatever_the_client_raises_becomes_a_store_error():
    client = FakeClient()
    client.may_answer.set()
    pipeline = pipeline_to(client, failures=100)
    for error in (OSError("x"), AttributeError("x"), ValueError("x")):
        client.error = error
        with pytest.raises(StoreError):
            await pipeline.call(("A", 1))
    client.error = None
    assert await pipeline.call(("A", 1)) == [1]
    await pipeline.aclose()


async def test_a_pipeline_that_is_closed_fails_what_waits_and_what_comes():
    client = FakeClient()
    pipeline = pipeline_to(client)
    sent = asyncio.create_task(pipeline.call(("A", 1)))
    while not client.batches:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(pipeline.call(("A", 2)))
    await asyncio.sleep(0)
    await pipeline.aclose()
    results = await asyncio.gather(sent, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreNotAskedError]
    with pytest.raises(StoreNotAskedError, match="closed"):
        await pipeline.call(("A", 3))


async def test_an_answer_that_comes_after_the_timeout_meets_nobody():
    client = FakeClient()
    pipeline = pipeline_to(client, timeout_s=0.02)
    with pytest.raises(StoreError, match="did not answer in 20 ms"):
        await pipeline.call(("A", 1))
    assert not client.links[0].is_open
    client.may_answer.set()
    assert await pipeline.call(("A", 2)) == [2]
    assert len(client.links) == 2
    await pipeline.aclose()


async def test_a_connection_that_is_not_made_in_time_is_given_up():
    client = FakeClient()
    client.may_connect.clear()
    pipeline = pipeline_to(client, timeout_s=0.02)
    with pytest.raises(StoreError, match="did not answer in 20 ms"):
        await pipeline.call(("A", 1))
    client.may_connect.set()
    client.may_answer.set()
    assert await pipeline.call(("A", 2)) == [2]
    assert len(client.links) == 1
    await pipeline.aclose()


async def test_a_connection_that_was_lost_between_calls_is_made_anew():
    client = FakeClient()
    client.may_answer.set()
    pipeline = pipeline_to(client)
    assert await pipeline.call(("A", 1)) == [1]
    client.links[0].is_open = False
    assert await pipeline.call(("A", 2)) == [2]
    assert len(client.links) == 2
    await pipeline.aclose()


async def test_only_scripts_that_were_not_known_are_sent_again_with_their_source():
    client = FakeClient()
    client.may_answer.set()
    client.says["EVALSHA"] = ReplyError("NOSCRIPT No matching script")
    pipeline = pipeline_to(client)
    answers = await pipeline.call(("A", 1), ("EVALSHA", "sha", 0), ("A", 2))
    assert answers == [1, "return 1", 2]
    assert client.batches[1:] == [[("EVAL", "return 1", 0)]]
    await pipeline.aclose()


async def test_an_error_that_redis_answers_is_a_store_error_for_its_caller_only():
    client = FakeClient()
    client.may_answer.set()
    client.says["B"] = ReplyError("OOM command not allowed")
    pipeline = pipeline_to(client, failures=1)
    answers = await asyncio.gather(
        pipeline.call(("A", 1)),
        pipeline.call(("B", 2)),
        pipeline.call(("A", 3)),
        return_exceptions=True,
    )
    assert (answers[0], answers[2]) == ([1], [3])
    assert isinstance(answers[1], StoreError)
    assert "OOM" in str(answers[1])
    assert client.links[0].is_open
    await pipeline.aclose()


async def test_a_server_that_became_a_replica_is_left():
    client = FakeClient()
    client.may_answer.set()
    client.says["B"] = ReplyError("READONLY You can't write against a read only replica.")
    pipeline = pipeline_to(client)
    with pytest.raises(StoreError, match="READONLY"):
        await pipeline.call(("B", 1))
    assert not client.links[0].is_open
    assert await pipeline.call(("A", 2)) == [2]
    await pipeline.aclose()


async def test_a_loop_that_was_busy_while_connecting_or_waiting_gives_the_time_back():
    client = FakeClient()
    client.may_answer.set()
    pipeline = pipeline_to(client, timeout_s=0.05)
    for turns in range(8):
        task = asyncio.create_task(pipeline.call(("A", turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        asyncio.get_running_loop().pass_time(0.1)
        assert await task == [turns]
    await pipeline.aclose()


async def test_a_pipeline_that_is_closed_while_it_connects_leaves_no_task():
    client = FakeClient()
    client.may_connect.clear()
    pipeline = pipeline_to(client)
    call = asyncio.create_task(pipeline.call(("A", 1)))
    for _ in range(3):
        await asyncio.sleep(0)
    await pipeline.aclose()
    with pytest.raises(StoreError, match="closed meanwhile"):
        await call
    assert len(asyncio.all_tasks()) == 1


async def test_what_cannot_be_sent_is_a_store_error_and_the_pipeline_goes_on():
    client = FakeClient()
    client.may_answer.set()
    pipeline = pipeline_to(client, failures=100)
    client.refuses = TypeError("no such argument")
    with pytest.raises(StoreError, match="no such argument"):
        await pipeline.call(("A", 1))
    client.refuses = None
    assert await pipeline.call(("A", 2)) == [2]
    await pipeline.aclose()


async def test_a_script_that_cannot_be_sent_again_may_have_left_others_carried_out():
    client = FakeClient()
    client.says["EVALSHA"] = ReplyError("NOSCRIPT No matching script")
    pipeline = pipeline_to(client)
    call = asyncio.create_task(pipeline.call(("A", 1), ("EVALSHA", "sha", 0)))
    while not client.batches:
        await asyncio.sleep(0)
    others = [asyncio.create_task(pipeline.call(("A", 0))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    client.may_answer.set()
    with pytest.raises(StoreError, match="too many") as raised:
        await call
    assert not isinstance(raised.value, StoreNotAskedError)
    await asyncio.gather(*others)
    await pipeline.aclose()
