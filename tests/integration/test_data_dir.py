"""A data folder belongs to one gateway, and one that cannot be used is told in one line."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from app.config import load_config
from app.errors import ConfigError
from app.processes.runs import this_run
from app.stores.data_dir import LOCK_NAME, holding
from app.stores.memory import MemoryStore
from app.stores.sqlite import DATABASE_NAME
from tests.support.gateway import REPOSITORY
from tests.support.processes import gateway_process, write_config

UPSTREAM = "http://127.0.0.1:9"
"""Nobody listens there, and nobody is asked."""


@pytest.fixture
def file(tmp_path):
    return write_config(tmp_path / "gateway.yaml", UPSTREAM, {"store.data_dir": "data"})


def steelyard(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "STEELYARD_ADMIN_TOKEN": "an-admin-token-of-the-tests"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def refusal(file) -> str:
    """Start a gateway that has to refuse, and return the one line that it says."""
    ended = steelyard("serve", "--config", file, "--port", "0")
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


async def test_a_second_gateway_on_a_data_folder_is_refused_and_tools_beside_the_first_work(
    file, tmp_path
):
    async with gateway_process(file, env={}) as gateway:
        line = refusal(file)
        assert str(tmp_path / "data") in line
        assert f"process {gateway.process.pid}" in line
        made = steelyard("keys", "create", "beside", "--config", file)
        assert made.returncode == 0, made.stderr
        # It leaves the lock with its holder.
        with pytest.raises(ConfigError, match=f"process {gateway.process.pid}"):
            hold(tmp_path / "data")
        gateway.process.send_signal(signal.SIGKILL)
        await gateway.process.wait()
    hold(tmp_path / "data")  # the lock of a process that was killed ends with it


def hold(data_dir) -> None:
    with holding(data_dir):
        pass


def break_as_file(data_dir):
    data_dir.write_text("no folder")


def break_below_a_file(data_dir):
    data_dir.parent.write_text("no folder")


def break_database(data_dir):
    data_dir.mkdir()
    (data_dir / DATABASE_NAME).write_bytes(b"no database, but long enough to look like one" * 100)


def break_outcomes(data_dir):
    data_dir.mkdir()
    (data_dir / "outcomes.sqlite3").write_bytes(b"no database, either" * 100)


def break_lock(data_dir):
    (data_dir / LOCK_NAME).mkdir(parents=True)


def break_a_page(data_dir):
    subprocess.run(
        [sys.executable, "-c", _FILL, str(data_dir)], cwd=REPOSITORY, check=True, timeout=300
    )
    database = data_dir / DATABASE_NAME
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


_FILL = """
import asyncio, sys
from pathlib import Path
from app.stores.memory import MemoryStore
from tests.support.stores import key_record

async def main():
    store = MemoryStore(Path(sys.argv[1]))
    await store.open()
    for i in range(50):
        await store.store.keys.save(key_record(f"k{i}"))
    await store.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (break_as_file, "cannot be used"),
        (break_below_a_file, "cannot be used"),
        (break_lock, "cannot be used"),
        (break_database, "not a database"),
        (break_outcomes, "not a database"),
        (break_a_page, "malformed"),
    ],
)
def test_a_data_folder_that_cannot_be_used_is_told_in_one_line(tmp_path, break_it, told):
    file = write_config(tmp_path / "gateway.yaml", UPSTREAM, {"store.data_dir": "at/data"})
    (tmp_path / "at").mkdir()
    if break_it is break_below_a_file:
        (tmp_path / "at").rmdir()
    break_it(tmp_path / "at" / "data")
    with pytest.raises(ConfigError) as caught, this_run(load_config(file)):
        pass
    assert told in caught.value.message
    assert str(tmp_path / "at" / "data") in caught.value.message
    assert "\n" not in caught.value.message


def test_a_disk_that_is_full_is_one_line_and_exit_code_2(file):
    # No file may grow beyond 8 KiB, which for SQLite is the same as a full disk.
    limited = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (8192, 8192)); {_SERVE}"
    ended = subprocess.run(
        # -B: modules compiled under that limit would be cut short on the disk, for all.
        [sys.executable, "-B", "-c", limited, "serve", "--config", str(file), "--port", "0"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert DATABASE_NAME in line


_SERVE = "from app.cli import main; main()"


def test_within_a_process_the_folder_may_be_held_again(tmp_path):
    with holding(tmp_path / "data"), holding(tmp_path / "data"):
        assert (tmp_path / "data" / LOCK_NAME).read_text() == f"{os.getpid()}\n"


async def test_a_store_that_serves_keeps_other_processes_out_until_it_is_closed(tmp_path):
    store = MemoryStore(tmp_path, exclusive=True)
    await store.open()
    assert f"process {os.getpid()}" in await asyncio.to_thread(hold_elsewhere, tmp_path)
    await store.aclose()
    assert await asyncio.to_thread(hold_elsewhere, tmp_path) == "held\n"


def hold_elsewhere(data_dir) -> str:
    return subprocess.run(
        [sys.executable, "-c", _HOLD, str(data_dir)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout


_HOLD = """
import sys
from pathlib import Path
from app.config import load_config
from app.errors import ConfigError
from app.processes.runs import this_run
from app.stores.data_dir import holding
try:
    with holding(Path(sys.argv[1])):
        print("held")
except ConfigError as error:
    print(error)
"""


async def test_a_damaged_database_is_a_configuration_error(tmp_path):
    break_a_page(tmp_path / "data")
    with pytest.raises(ConfigError, match="malformed"):
        await MemoryStore(tmp_path / "data").open()
