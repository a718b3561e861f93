"""Processes of `python -m app` that begin with everything imported.

What a gateway imports takes it more than a second of a core, and a hundred of them are started in
a run. So a process beside each that runs tests imports it once, and forks whenever a test starts a
gateway, a simulated upstream or another command through `subprocess`. That is a process like any
other, with arguments, environment, pipes, session and exit status of its own, and a child of ours.
It begins where Python's own `-m` does: nothing in `app` does anything when it is imported.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import pytest

from tests.support import forking
from tests.support.gateway import REPOSITORY

_MODULES = ("app", "app.stub")
_PR_SET_CHILD_SUBREAPER = 36
_READ_AT_START = ("PYTHON", "LC_", "LANG", "OPENBLAS_", "OMP_")
"""Variables that count when Python or a library starts, by how they begin."""


@contextlib.contextmanager
def forking_instead_of_importing() -> Iterator[None]:
    """Let `subprocess` fork our own modules from a process that has imported them.

    Where a system cannot give us the child of a child, which Linux can, nothing changes.
    """
    if not hasattr(subprocess, "_fork_exec") or not _adopt(children_of_children=False):
        yield
        return
    with _Nursery() as nursery, pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "_fork_exec", nursery.fork_exec)
        yield


class _Nursery:
    """Our end of the line to the process that forks, which is started when it is first needed."""

    def __init__(self) -> None:
        self._fork_exec: Callable[..., int] = subprocess._fork_exec  # type: ignore[attr-defined]
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._read_at_start: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None and self._process is not None:
            self._line.close()
            self._process.wait(60)

    def fork_exec(self, argv: Sequence[Any], *rest: Any) -> int:
        """Start a process and return its id; takes what `_posixsubprocess.fork_exec` does."""
        words = [os.fsdecode(word) for word in argv]
        if words[:2] == [sys.executable, "-m"] and words[2] in _MODULES:
            pid = self._fork(words[2:], rest)
            if pid is not None:
                return pid
        return self._fork_exec(argv, *rest)

    def _fork(self, words: Sequence[str], arguments: Sequence[Any]) -> int | None:
        """Fork, unless we do not know of a process whether it would be alike."""
        _, close_others, kept, cwd, env, stdin, _, _, stdout, _, stderr, *rest = arguments
        _, _, _, session, *rest = rest
        pairs = os.environb.items() if env is None else [each.split(b"=", 1) for each in env]
        variables = {os.fsdecode(name): os.fsdecode(value) for name, value in pairs}
        files = [own if given == -1 else given for own, given in enumerate((stdin, stdout, stderr))]
        alike = (
            close_others
            and len(kept) == 1
            and REPOSITORY.samefile(os.fsdecode(cwd or os.curdir))
            and not any(map(callable, rest))
            and not any(map(os.isatty, files))
        )
        with self._lock:
            if alike and self._line is None:
                self._start()
            if not alike or _read_at_start(variables) != self._read_at_start:
                return None
            order = {"words": words, "env": variables, "session": bool(session)}
            assert self._line is not None
            _adopt(children_of_children=True)
            try:
                socket.send_fds(self._line, [json.dumps(order).encode()], files)
                pid = int(self._line.recv(32))
                self._line.recv(32)  # the process between it and us has ended
            finally:
                _adopt(children_of_children=False)
            return pid

    def _start(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, forking.MOST_BYTES)
        self._read_at_start = _read_at_start(os.environ)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", forking.__name__, str(theirs.fileno())],
                cwd=REPOSITORY,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )


def _read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in variables.items() if name.startswith(_READ_AT_START)}


def _adopt(*, children_of_children: bool) -> bool:
    """Become the parent of a process whose own parent ends, or no longer; return whether we can."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return not libc.prctl(_PR_SET_CHILD_SUBREAPER, int(children_of_children), 0, 0, 0)
