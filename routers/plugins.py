"""Modules of somebody else's that register kinds of their own as they are imported."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from routers.errors import RoutingConfigError
from routers.files import shown

PLUGINS_VARIABLE = "STEELYARD_PLUGINS"
"""The environment variable that names plugins; whoever starts the library reads it."""


def plugin_names(text: str) -> list[str]:
    """Split what an option or a variable says at commas: names of modules, and of files."""
    return [name for part in text.split(",") if (name := part.strip())]


def load_plugins(names: Iterable[str]) -> list[str]:
    """Import modules, each by its name or as a file `*.py`; return names that work from anywhere.

    A module is looked for where Python looks, and after that in the working directory. One that
    was imported already is left as it is.

    Raises
    ------
    RoutingConfigError
        If one is not found, or cannot be imported; the message says why.
    """
    return [_load_file(Path(name)) if name.endswith(".py") else _load(name) for name in names]


def _load(name: str) -> str:
    here = str(Path.cwd())
    if here not in sys.path:
        # Last: a file that happens to lie here takes the place of nothing that is installed.
        sys.path.append(here)
    try:
        importlib.import_module(name)
    except Exception as error:
        raise _failure(name, error) from error
    return name


def _load_file(path: Path) -> str:
    path = path.resolve()
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return str(path)
        raise RoutingConfigError(
            f"plugin {path}: a module named {name!r} is loaded already; give the file another name"
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RoutingConfigError(f"plugin {path}: there is no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failure(str(path), error) from error
    return str(path)


def _failure(name: str, error: Exception) -> RoutingConfigError:
    """Say why a plugin could not be imported: code of somebody else's may fail in any way."""
    if isinstance(error, RoutingConfigError):
        return RoutingConfigError(f"plugin {name}: {error}")
    return RoutingConfigError(
        f"plugin {name}: cannot be imported ({type(error).__name__}: {shown(str(error))})"
    )
