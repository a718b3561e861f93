"""Classes by kind: the file name is the kind, the config value and the metric label.

A kind of somebody else's comes as an entry point of an installed package, or is registered by a
module that was imported (`routers.plugins`).
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, Generic, TypeVar

from routers.errors import RoutingConfigError
from routers.files import shown

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
    group
        The group of entry points under which installed packages bring kinds of their own, by
        name; None where they bring none. The kinds of `package` cannot be replaced.
    base
        What every class has to be derived from.
    """

    def __init__(
        self, package: str, *, noun: str, group: str | None = None, base: type[Any] = object
    ) -> None:
        self._package = package
        self._noun = noun
        self._group = group
        self._base = base
        self._classes: dict[str, type[T]] = {}

    def register(self, kind: str) -> Callable[[type[T]], type[T]]:
        """Return the class decorator that files a class under `kind`, and names it so.

        A class that is derived from one of another kind is of its own kind all the same: an
        artifact is loaded by it.

        Raises
        ------
        RoutingConfigError
            If the kind is one of `package`, and the class is not its own.
        """

        def decorate(cls: type[T]) -> type[T]:
            if not cls.__module__.startswith(f"{self._package}.") and kind in self._shipped():
                raise RoutingConfigError(
                    f"{cls.__module__}.{cls.__name__} cannot take the name {kind!r}: the "
                    f"{self._noun} of that name comes with Steelyard; choose another"
                )
            self._classes[kind] = cls
            if self._group is not None:
                setattr(cls, "kind", kind)  # noqa: B010  (which classes of T have is not declared)
            return cls

        return decorate

    def kinds(self) -> tuple[str, ...]:
        """List every known kind, sorted: modules on disk, entry points, and what was registered."""
        brought = {point.name for point in self._points()}
        return tuple(sorted(self._shipped() | self._classes.keys() | brought))

    def knows(self, kind: str) -> bool:
        """Whether there is such a kind; what comes with Steelyard is looked at first."""
        known = kind in self._classes or kind in self._shipped()
        return known or any(point.name == kind for point in self._points())

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
            If there is no such kind, or the package that brings it cannot; the message lists the
            known ones, or says what is wrong.
        """
        if kind not in self._classes:
            if kind in self._shipped():
                importlib.import_module(f"{self._package}.{kind.replace('-', '_')}")
            else:
                self._take(kind)
        return self._classes[kind]

    def _shipped(self) -> set[str]:
        spec = importlib.util.find_spec(self._package)
        assert spec is not None  # noqa: S101  (a registry is made in or beside its package)
        return {
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules(spec.submodule_search_locations)
            if module.name != "base" and not module.ispkg and not module.name.startswith("_")
        }

    def _points(self) -> Iterator[metadata.EntryPoint]:
        if self._group is not None:
            yield from metadata.entry_points(group=self._group)

    def _take(self, kind: str) -> None:
        """Register the class that an installed package brings under the name `kind`."""
        found = {point.value: point for point in self._points() if point.name == kind}
        if not found:
            further = (
                ""
                if self._group is None
                else f" (one of your own: an installed package with an entry point of "
                f"{self._group}, or --plugin MODULE)"
            )
            raise RoutingConfigError(
                f"unknown {self._noun} {kind!r}; known: {', '.join(self.kinds())}{further}"
            )
        if len(found) > 1:
            raise RoutingConfigError(
                f"several installed packages bring a {self._noun} {kind!r}: "
                f"{', '.join(sorted(found))}; keep one of them"
            )
        (point,) = found.values()
        where = f"the entry point {point.name} = {point.value} of {self._group}"
        try:
            cls = point.load()
        except Exception as error:
            # Code of somebody else's, which may fail in any way as it is imported.
            raise RoutingConfigError(
                f"{where} cannot be loaded: {type(error).__name__}: {shown(str(error))}"
            ) from error
        if not isinstance(cls, type) or not issubclass(cls, self._base):
            raise RoutingConfigError(
                f"{where} is no class derived from {self._base.__module__}.{self._base.__name__}"
            )
        self.register(kind)(cls)
