"""One connection: replies that come in pieces, too many of them, or none."""

import asyncio

import pytest

from app.redis_client.connection import Address, Connection, pack

PING = pack([("PING",)])


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
async def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
async def connection(transport: FakeTransport) -> Connection:
    connection = Connection()
    connection.connection_made(transport)
    return connection


async def test_commands_go_out_in_one_write_and_replies_may_come_in_pieces(connection, transport):
    outcomes: list[object] = []
    commands = [("GET", "a"), ("SET", "b", b"\x00", "PX", 5)]
    connection.send(pack(commands), 2, outcomes.append)
    assert transport.written == (
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
        b"*5\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n\x00\r\n$2\r\nPX\r\n$1\r\n5\r\n"
    )
    for piece in (b"$", b"-1\r", b"\n-ERR", b" no\r\n"):
        assert outcomes == []
        connection.data_received(piece)
    ((nothing, error),) = outcomes
    assert nothing is None
    assert str(error) == "ERR no"
    connection.send(PING, 1, outcomes.append)
    connection.data_received(b"+PONG\r\n")
    assert outcomes[1:] == [[b"PONG"]]


@pytest.mark.parametrize("says", [b"+OK\r\n+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_whoever_says_more_or_something_else_is_left(connection, transport, says):
    outcomes: list[object] = []
    connection.send(PING, 1, outcomes.append)
    connection.data_received(says)
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Exception)
    assert transport.aborted
    assert not connection.is_open


async def test_words_without_a_question_end_the_connection(connection, transport):
    connection.data_received(b"+OK\r\n")
    assert transport.aborted


@pytest.mark.parametrize("error", [None, OSError("reset")])
async def test_a_batch_whose_connection_is_lost_fails_once(connection, error):
    outcomes: list[object] = []
    connection.send(PING, 1, outcomes.append)
    connection.connection_lost(error)
    connection.connection_lost(error)
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], OSError)
    await connection.wait_closed()


async def test_nothing_is_sent_while_a_batch_is_on_its_way(connection):
    connection.send(PING, 1, lambda _: None)
    with pytest.raises(RuntimeError):
        connection.send(PING, 1, lambda _: None)
    with pytest.raises(RuntimeError):
        Connection().send(PING, 1, lambda _: None)


@pytest.mark.parametrize(
    "url", ["http://localhost", "redis://h?socket_timeout=x", "redis://h?no=1"]
)
def test_what_cannot_be_an_address_is_refused(url):
    with pytest.raises(ValueError, match=r"."):
        Address(url)
