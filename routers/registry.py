"""Classes by kind: the file name is the kind, the config value and the metric label."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from routers.errors import RoutingConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Find a class by its kind, importing `<package>/<kind>.py` only when it is asked for.

    Parameters
    ----------
    package
        Dotted name of the package that holds one module per kind (`my-kind` lives in
        `my_kind.py`); what kinds share is none of them: `base`, a module whose name starts with an
        underscore, a package.
    noun
        What the kinds are called in error messages.
    """

    def __init__(self, package: str, *, noun: str) -> None:
        self._package = package
        self._noun = noun
        self._classes: dict[str, type[T]] = {}

    def register(self, kind: str) -> Callable[[type[T]], type[T]]:
        """Return the class decorator that files a class under `kind`."""

        def decorate(cls: type[T]) -> type[T]:
            self._classes[kind] = cls
            return cls

        return decorate

    def kinds(self) -> tuple[str, ...]:
        """List every known kind, sorted: the modules on disk and what was registered by hand."""
        package = importlib.import_module(self._package)
        names = {
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(package.__path__)
            if module.name != "base" and not module.ispkg and not module.name.startswith("_")
        }
        return tuple(sorted(names | self._classes.keys()))

    def kind_of(self, instance: T) -> str:
        """Return the kind under which the class of `instance` is registered.

        Raises
        ------
        RoutingConfigError
            If it is not registered.
        """
        for kind, cls in self._classes.items():
            if cls is type(instance):
                return kind
        raise RoutingConfigError(f"{type(instance).__name__} is not a registered {self._noun}")

    def get(self, kind: str) -> type[T]:
        """Return the class of `kind`.

        Raises
        ------
        RoutingConfigError
            If there is no such kind; the message lists the known ones.
        """
        if kind not in self._classes:
            if kind not in self.kinds():
                raise RoutingConfigError(
                    f"unknown {self._noun} {kind!r}; known: {', '.join(self.kinds())}"
                )
            importlib.import_module(f"{self._package}.{kind.replace('-', '_')}")
        return self._classes[kind]
