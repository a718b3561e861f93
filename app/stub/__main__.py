"""Run the simulated upstream: `python -m app.stub --port 8081`."""

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress

import click

from app.stub.server import StubServer


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8081, show_default=True, help="0 takes a free port.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="1 is realistic, 2 twice as fast, 0 without any delay.",
)
@click.option("--exit-on-stdin-close", is_flag=True, help="Stop with the process that started it.")
def main(*, host: str, port: int, speed: float, exit_on_stdin_close: bool) -> None:
    """Serve simulated models over OpenAI's API."""
    serving = _serve(host=host, port=port, speed=speed, exit_on_stdin_close=exit_on_stdin_close)
    try:
        import uvloop  # noqa: PLC0415 - not to be had on every platform
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(*, host: str, port: int, speed: float, exit_on_stdin_close: bool) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if exit_on_stdin_close:
        # A thread, since event loops cannot watch every kind of file that stdin may be.
        threading.Thread(target=_await_eof, args=(loop, stopped), daemon=True).start()
    stub = StubServer(speed=speed)
    await stub.start(host=host, port=port)
    click.echo(f"stub listening on http://{stub.host}:{stub.port}")
    sys.stdout.flush()
    await stopped.wait()
    await stub.aclose()


def _await_eof(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    # Not through sys.stdin: its lock, held by a waiting thread, aborts the interpreter at its end.
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop may have ended first
        loop.call_soon_threadsafe(stopped.set)


if __name__ == "__main__":
    main()
