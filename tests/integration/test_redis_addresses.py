"""Every way that an address can lead to Redis: passwords, users, databases, sockets, TLS."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import uvloop

from app.stores.base import StoreError
from app.stores.redis import RedisStore
from tests.support.redis_server import RedisServer, redis_server_path
from tests.support.stores import key_record

pytestmark = pytest.mark.skipif(redis_server_path() is None, reason="no redis-server")

RECORD = key_record("address")


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("socket") / "redis.sock"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, socket_path: Path) -> Iterator[RedisServer]:
    options = ("--unixsocket", str(socket_path))
    with RedisServer(tmp_path_factory.mktemp("redis"), *options) as server:
        server.command("ACL", "SETUSER", "clerk", "on", ">p@ss/word", "~*", "&*", "+@all")
        yield server


async def saved_at(url: str) -> RedisStore:
    """Save and find a key, and close."""
    store = RedisStore(url, prefix="address", timeout_s=5.0)
    try:
        await store.store.keys.save(RECORD)
        assert await store.store.keys.find(RECORD.digest) == RECORD
    finally:
        await store.aclose()
    return store


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_database_is_chosen_on_both_loops(server, run):
    server.command("FLUSHALL")
    run(saved_at(f"redis://127.0.0.1:{server.port}/3"))
    with server.client() as client:
        client.execute_command("SELECT", 3)
        assert client.hexists("{address:keys}", RECORD.digest)
        client.execute_command("SELECT", 0)
        assert not client.exists("{address:keys}")


async def test_a_user_and_a_password_are_given(server):
    await saved_at(f"redis://clerk:p%40ss%2Fword@127.0.0.1:{server.port}/0")
    with pytest.raises(StoreError, match="WRONGPASS"):
        await saved_at(f"redis://clerk:wrong@127.0.0.1:{server.port}/0")


async def test_a_password_alone_is_given(server):
    server.command("CONFIG", "SET", "requirepass", "alone")
    try:
        await saved_at(f"redis://:alone@127.0.0.1:{server.port}")
        with pytest.raises(StoreError, match="NOAUTH"):
            await saved_at(f"redis://127.0.0.1:{server.port}")
    finally:
        with redis.Redis(port=server.port, password="alone", protocol=2) as client:  # noqa: S106
            client.config_set("requirepass", "")


async def test_a_unix_socket_is_spoken_to(server, socket_path):
    await saved_at(f"unix://{socket_path}?db=2")


async def test_a_connection_has_the_name_that_the_address_gives_it(server):
    store = RedisStore(f"redis://127.0.0.1:{server.port}?client_name=gateway-7", timeout_s=5.0)
    assert await store.healthy()
    assert "name=gateway-7" in str(server.command("CLIENT", "LIST"))
    await store.aclose()


async def test_a_database_that_does_not_exist_is_an_error_and_closes(server):
    with pytest.raises(StoreError, match="DB index"):
        await saved_at(f"redis://127.0.0.1:{server.port}/99")
    assert len(server.command("CLIENT", "LIST").splitlines()) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    return key, cert


@contextlib.asynccontextmanager
async def tls_before(port: int, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """End TLS on a port of its own, as a proxy in front of Redis does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pour(reader, redis_writer), _pour(redis_reader, writer))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
        await asyncio.wait_for(asyncio.gather(*serving), 10.0)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


async def test_tls_is_spoken_to_a_server_that_is_trusted(server, certificate):
    async with tls_before(server.port, certificate) as port:
        await saved_at(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate[1]}")


async def test_a_certificate_nobody_vouches_for_is_refused(server, certificate):
    async with tls_before(server.port, certificate) as port:
        with pytest.raises(StoreError, match="certificate"):
            await saved_at(f"rediss://127.0.0.1:{port}/0")
