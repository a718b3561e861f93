"""Registers in a file that is there only when something is in it."""

from pathlib import Path

import pytest

from app.stores.base import StoreError
from app.stores.memory_registers import DATABASE_NAME, SqliteRegisters


async def test_there_is_no_file_before_there_is_a_value(tmp_path: Path) -> None:
    registers = SqliteRegisters(tmp_path)
    await registers.open()
    assert await registers.read("lessons") is None
    assert await registers.version("lessons") is None
    assert not (tmp_path / DATABASE_NAME).exists()

    assert await registers.replace("lessons", b"1", version="a", after=None, lifetime_s=60)
    assert (tmp_path / DATABASE_NAME).exists()
    assert await registers.read("lessons") == ("a", b"1")
    await registers.aclose()


async def test_a_file_that_another_process_made_meanwhile_is_read(tmp_path: Path) -> None:
    early, late = SqliteRegisters(tmp_path), SqliteRegisters(tmp_path)
    await early.open()
    await late.open()
    assert await late.replace("lessons", b"1", version="a", after=None, lifetime_s=60)
    assert await early.read("lessons") == ("a", b"1")
    assert not await early.replace("lessons", b"2", version="b", after=None, lifetime_s=60)
    await early.aclose()
    await late.aclose()


async def test_nothing_is_made_after_the_end(tmp_path: Path) -> None:
    registers = SqliteRegisters(tmp_path)
    await registers.open()
    await registers.aclose()
    with pytest.raises(StoreError):
        await registers.replace("lessons", b"1", version="a", after=None, lifetime_s=60)
    with pytest.raises(StoreError):
        await registers.read("lessons")
    assert not (tmp_path / DATABASE_NAME).exists()
