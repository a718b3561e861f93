"""Reading the configuration anew: all of it, or nothing."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine

from app.config import LoadedConfig
from app.errors import ConfigError
from app.serving import build_serving, check_replaceable, prepare
from app.state import AppState, Serving

_log = logging.getLogger(__name__)


class Reloader:
    """Replace what is served by what the configuration file says now.

    Requests that run go on with what they began with; its connections are closed after the last
    of them. A configuration that cannot be used changes nothing.

    Parameters
    ----------
    load
        Reads and checks the configuration file.
    """

    def __init__(self, state: AppState, *, load: Callable[[], LoadedConfig]) -> None:
        self._state = state
        self._load = load
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._retiring: list[Serving] = []

    async def reload(self) -> str:
        """Read the configuration, check it, and serve it; return its version.

        Raises
        ------
        ConfigError
            If it cannot be used; the one before goes on being served.
        """
        async with self._lock:
            state = self._state
            try:
                config = await asyncio.to_thread(self._load)
                check_replaceable(state.config, config)
                policies, names = await asyncio.to_thread(prepare, config)
                serving = build_serving(config, state.resources, policies, names)
            except ConfigError as error:
                state.metrics.process.reloaded(successful=False)
                _log.error("the configuration is not replaced: %s", error.message)
                raise
            old, state.serving = state.serving, serving
            state.metrics.process.reloaded(successful=True)
            _log.info("the configuration is now version %s", serving.gateway.config_version)
            self._retiring.append(old)
            self._start(self._retire(old))
            return serving.gateway.config_version

    async def _retire(self, serving: Serving) -> None:
        await serving.retire()
        self._retiring.remove(serving)

    def reload_soon(self) -> None:
        """Reload in the background; how it ended is logged and counted."""
        self._start(self._reload_quietly())

    async def aclose(self) -> None:
        """Let go of everything that was being replaced."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for serving in tuple(self._retiring):
            await serving.aclose()

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(ConfigError):  # logged and counted
            await self.reload()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
