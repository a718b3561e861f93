"""Threads that die as tests want."""

import ctypes
import threading


def kill_thread(name: str) -> None:
    """End a thread by an exception that it does not expect, wherever it is; returns then."""
    (thread,) = [each for each in threading.enumerate() if each.name == name]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    thread.join(60)
    assert not thread.is_alive()
