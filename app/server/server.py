"""A serving process from its start to its stop; every request that runs gets an end.

uvicorn starts and ticks; what it does with what still runs when the time is up (break it off, and
close the store beneath it) and with an application that cannot start (a stack, exit code 3) is done
otherwise here.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn

from app.config import ServerConfig
from app.server.flow import reset
from app.server.protocol import gateway_protocol

LAST_WORDS_S = 5.0
"""How long requests that were cut off may take to say so and to be booked."""

_LAST_READ_S = 0.05
"""How long what clients have sent already is still read, once nobody new is let in."""

_FLUSH_S = 1.0
_POLL_S = 0.05

_log = logging.getLogger(__name__)


def uvicorn_config(server: ServerConfig, app: str | Callable[[], object]) -> uvicorn.Config:
    """Return how uvicorn is to run what `app` makes, or names."""
    return uvicorn.Config(
        app,
        factory=True,
        loop="uvloop",
        http=gateway_protocol(server),
        ws="none",
        lifespan="off",  # `Server` has its own
        # Who asks is known by the key alone: no header says where a request came from.
        proxy_headers=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
    )


class _Lifespan:
    """Starlette's lifespan without a task and messages between, so that its errors arrive."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._app = config.loaded_app
        self._context: AbstractAsyncContextManager[Any] | None = None
        self.state: dict[str, Any] = {}
        self.should_exit = False

    async def startup(self) -> None:
        context = self._app.router.lifespan_context(self._app)
        await context.__aenter__()
        self._context = context

    async def shutdown(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            await context.__aexit__(None, None, None)


class Server(uvicorn.Server):
    """Serve, and when told to stop give everything that runs an end.

    Parameters
    ----------
    grace_s
        How long requests that run may take to end by themselves. Then they are cut off: a stream
        ends with an error event, an answer that has not begun is a 503.
    on_listening
        Called once clients can connect.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        grace_s: float,
        on_listening: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._grace_s = grace_s
        self._on_listening = on_listening

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until stopped.

        Raises
        ------
        GatewayError
            If the application cannot be built or started.
        """
        self.config.load()
        self.config.lifespan_class = _Lifespan
        super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            _log.info("ready", extra={"fields": {"pid": os.getpid()}})
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody new in, wait for what runs, cut off what runs too long, and end."""
        self._stop_listening(sockets or ())
        state = self.server_state
        _log.info(
            "stopping: no new connections; what runs has %g s",
            self._grace_s,
            extra={"fields": {"pid": os.getpid(), "requests": len(state.tasks)}},
        )
        await asyncio.sleep(_LAST_READ_S)
        for connection in list(state.connections):
            connection.shutdown()
        await self._until_idle(self._grace_s)
        n_cut = await self._cut_off()
        await self.lifespan.shutdown()
        _log.info("stopped", extra={"fields": {"pid": os.getpid(), "requests_cut_off": n_cut}})
        # What was told to stop and did ends well; uvicorn would end it by the signal, at once.
        self._captured_signals[:] = [
            each for each in self._captured_signals if each != signal.SIGTERM
        ]

    def _stop_listening(self, sockets: Sequence[socket.socket]) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets:
            sock.close()

    async def _until_idle(self, seconds: float, *, tasks: bool = True) -> None:
        state, loop = self.server_state, asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while state.connections or (tasks and state.tasks):  # sets that tell nobody
            if loop.time() >= deadline or self.force_exit:
                return
            await asyncio.sleep(_POLL_S)

    async def _cut_off(self) -> int:
        """End what still runs; return how many requests that were."""
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel("the gateway stops")
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LAST_WORDS_S)
            if late:
                _log.error("%d requests did not end; they are given up", len(late))
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await self._until_idle(_FLUSH_S, tasks=False)
        for connection in list(self.server_state.connections):
            reset(connection.transport)
        return len(tasks)
