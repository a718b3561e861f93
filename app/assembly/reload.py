"""Reading the configuration anew: all of it, or nothing."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from app.assembly import config_version
from app.assembly.active_config import build_active, check_replaceable, prepare
from app.assembly.app_state import resize_places
from app.config import LoadedConfig
from app.errors import ConfigError
from app.gateway.names import Names
from app.gateway.policy import Policy
from app.state import ActiveConfig, AppState
from app.telemetry.logs import hide_secrets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A configuration that can be served, with everything about it that takes time."""

    config: LoadedConfig
    version: str
    policies: Mapping[str, Policy]
    names: Names


class Reloader:
    """Replace what is served by what the configuration file says now.

    Requests that run go on with what they began with; its connections are closed after the last
    of them. A configuration that cannot be used changes nothing, whatever is wrong with it.

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
        self._retiring: list[ActiveConfig] = []

    async def reload(self) -> str:
        """Read the configuration, check it, and serve it; return its version.

        Raises
        ------
        ConfigError
            If it cannot be used; the one before goes on being served.
        """
        async with self._lock:
            try:
                version = self.apply(await self.stage())
            except ConfigError as error:
                self.told(successful=False)
                _log.error("the configuration is not replaced: %s", error.message)
                raise
            self.told(successful=True)
            return version

    async def stage(self, config: LoadedConfig | None = None) -> Staged:
        """Make everything ready for a configuration, which is not served yet.

        Parameters
        ----------
        config
            Default: what the configuration file says.

        Raises
        ------
        ConfigError
            If it cannot be used.
        """
        try:
            if config is None:
                config = await asyncio.to_thread(self._load)
            hide_secrets(config.hidden | self._state.config.hidden)
            check_replaceable(self._state.config, config)
            policies, names = await asyncio.to_thread(prepare, config)
            version = config_version(config)
        except ConfigError:
            raise
        except Exception as error:
            # No file may stop a gateway that runs, whatever is in it.
            _log.debug("the configuration cannot be read", exc_info=True)
            raise ConfigError(
                f"{self._state.config.path}: cannot be used ({type(error).__name__}: {error})"
            ) from error
        return Staged(config=config, version=version, policies=policies, names=names)

    def apply(self, staged: Staged) -> str:
        """Serve what was made ready; return its version.

        Raises
        ------
        ConfigError
            If an upstream cannot be built.
        """
        state = self._state
        old, state.serving = (
            state.serving,
            build_active(staged.config, state.resources, staged.policies, staged.names),
        )
        resize_places(state.places, staged.config.gateway.server)
        _log.info("the configuration is now version %s", staged.version)
        self._retiring.append(old)
        self._start(self._retire(old))
        return staged.version

    def told(self, *, successful: bool, counts: bool = True) -> None:
        """Show how an attempt ended; it `counts` in one process alone."""
        self._state.metrics.process.reloaded(successful=successful, counts=counts)

    async def _retire(self, serving: ActiveConfig) -> None:
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
