"""Whatever commands print to: no character and no reader that leaves ends one in a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import REPOSITORY


def run(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=REPOSITORY,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUTF8": "0"} | environment,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "20"},
    ],
)
def test_a_decision_is_explained_on_any_terminal(environment):
    ended = run("explain", "hello …", "--config", "configs/gateway.yaml", **environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == b""
    assert b"knob" in ended.stdout


def test_what_ascii_lacks_is_told_in_ascii():
    ended = run("--help", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.isascii()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("explain", "hello"), 0), (("--help",), 0), (("check-config", "nowhere.yaml"), 2)],
)
def test_a_reader_that_leaves_changes_nothing(arguments, code):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        ended = run(*arguments, stdout=nobody)
    assert ended.returncode == code
    assert b"Traceback" not in ended.stderr
    assert b"Exception" not in ended.stderr


def test_a_full_disk_is_one_line():
    with Path("/dev/full").open("wb") as full:
        ended = run("explain", "hello", stdout=full)
    assert ended.returncode == 2
    assert ended.stderr == b"steelyard: No space left on device\n"
