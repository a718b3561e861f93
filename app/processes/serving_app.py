"""What every serving process does before it serves, alone or as one of several."""

import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI

from app.config import LoadedConfig
from app.config.settings import Settings
from app.main import create_app

_SWITCH_INTERVAL_S = 0.0005
"""How long a worker thread may keep the event loop waiting (Python's default is 5 ms)."""


def serving_app(
    config: LoadedConfig,
    *,
    host: str,
    workers_dir: Path | None = None,
    n_workers: int = 1,
    reload: Callable[[], Awaitable[str]] | None = None,
) -> FastAPI:
    """Build the application of a process that does nothing else; see `create_app`.

    Raises
    ------
    ConfigError
        If anything in the configuration does not fit together.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    app = create_app(
        config,
        host=host,
        workers_dir=workers_dir,
        n_workers=n_workers,
        run=Settings().run,
        reload=reload,
    )
    # What was built stays: a full collection need not go through it again and again.
    gc.collect()
    gc.freeze()
    # Nearly all garbage goes by its count of references: looking for cycles after every 700 objects
    # finds none.
    gc.set_threshold(20_000, 20, 20)
    return app
