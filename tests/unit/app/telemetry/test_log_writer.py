"""Whoever logs never waits for whoever reads."""

import fcntl
import io
import json
import logging
import multiprocessing
import os
import re
import threading

import pytest

from app.telemetry.log_writer import MAX_WAITING, LogWriter
from app.telemetry.logs import JsonFormatter, JsonLines

LINE = "x" * 999 + "\n"


def told(n_lines):
    return f"{n_lines} dropped\n"


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as writer:  # noqa: PTH123
        yield reader, writer


def read_until(reader, mark):
    data = b""
    while mark not in data:
        data += reader.read(65_536)
    return data


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_costs_lines_and_nothing_else(pipe, blocking):
    reader, stream = pipe
    if not blocking:
        flags = fcntl.fcntl(stream, fcntl.F_GETFL)
        fcntl.fcntl(stream, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    writer = LogWriter(stream, told=told)
    n_put = MAX_WAITING + 500
    for _ in range(n_put):
        writer.put(lambda: LINE, n_lines=1)
    while not writer.dropped_lines:
        writer.put(lambda: LINE, n_lines=1)
        n_put += 1
    assert not writer.flush(timeout_s=0)
    closing = threading.Thread(target=writer.close)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    # Somebody reads again: nothing is lost but what was dropped, and that is told.
    dropped = writer.dropped_lines
    data = b""
    while data.count(LINE.encode()) < n_put - dropped:
        data += reader.read(65_536)
    writer.put(lambda: "last\n", n_lines=1)
    data += read_until(reader, b"last\n") if b"last\n" not in data else b""
    assert data.count(LINE.encode()) == n_put - dropped
    # In as many lines as there were pauses in which something was dropped.
    assert sum(map(int, re.findall(rb"^(\d+) dropped$", data, re.MULTILINE))) == dropped


def test_a_reader_that_has_gone_is_survived_and_counted(pipe):
    reader, stream = pipe
    reader.close()
    writer = LogWriter(stream, told=told)
    for _ in range(3):
        writer.put(lambda: "a\nb\n", n_lines=2)
    assert writer.flush(timeout_s=30)
    assert writer.dropped_lines == 6


def test_a_full_disk_is_survived_and_told_of_later():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        writer = LogWriter(full, told=told)
        writer.put(lambda: "a\n", n_lines=1)
        assert writer.flush(timeout_s=30)
        assert writer.dropped_lines == 1
        reading, writing = os.pipe()
        os.dup2(writing, writer._fd)
        os.close(writing)
        writer.put(lambda: "b\n", n_lines=1)
        assert writer.flush(timeout_s=30)
        assert os.read(reading, 100) == b"1 dropped\nb\n"
        os.close(reading)
        writer.close()


def test_the_log_never_gets_into_a_file_that_took_the_place_of_a_closed_one(pipe):
    reader, stream = pipe
    writer = LogWriter(stream, told=told)
    stream.close()
    writer.put(lambda: "still there\n", n_lines=1)
    assert read_until(reader, b"\n") == b"still there\n"
    writer.close()


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_where_there_is_no_descriptor(stream):
    writer = LogWriter(stream, told=told)
    writer.put(lambda: "a\n", n_lines=1)
    assert writer.flush(timeout_s=30)
    assert (writer.dropped_lines, stream and stream.getvalue()) in {(1, None), (0, "a\n")}


def logged(message, *args):
    return logging.makeLogRecord({"msg": message, "args": args, "levelname": "INFO"})


def test_what_cannot_be_formatted_is_dropped_and_the_rest_written():
    stream = io.StringIO()
    handler = JsonLines(stream, JsonFormatter())
    handler.handle(logged("%d and %d", 1))
    handler.handle(logged("written"))
    handler.close()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages == ["log lines were dropped", "written"]
    assert handler.dropped_lines == 1


def test_lines_are_cleaned_of_the_secrets_that_were_known_when_they_were_logged():
    stream = io.StringIO()
    formatter = JsonFormatter(["first-secret"])
    handler = JsonLines(stream, formatter)
    held = threading.Event()
    handler._writer.put(lambda: held.wait(30) and "", n_lines=1)
    handler.handle(logged("first-secret"))
    handler.write([b'{"message":"first-secret"}'])
    formatter.hide(["second-secret"])
    handler.handle(logged("second-secret"))
    held.set()
    handler.close()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages == ["[redacted]"] * 3


def _log_in_child(writer):
    writer.put(lambda: "of the child\n", n_lines=1)
    writer.close()


def test_a_forked_process_writes_too(pipe):
    reader, stream = pipe
    writer = LogWriter(stream, told=told)
    writer.put(lambda: "of the parent\n", n_lines=1)
    assert writer.flush(timeout_s=30)
    child = multiprocessing.get_context("fork").Process(target=_log_in_child, args=(writer,))
    child.start()
    child.join(30)
    assert read_until(reader, b"child\n") == b"of the parent\nof the child\n"
    writer.close()
