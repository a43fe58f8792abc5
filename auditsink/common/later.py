"""Modules that libraries import and a sink hardly looks into: they run at the first look, not at the import."""

import importlib.util
import sys
from threading import RLock
from types import ModuleType
from typing import Any

_RUNNING = RLock()


class _Later(ModuleType):
    """A module that has not run; the standard library's `LazyLoader` runs a package as soon as a part is imported."""

    def __getattr__(self, name: str) -> Any:
        """What is not there yet is a reason to run it."""
        with _RUNNING:
            state = self.__dict__
            if "_runs" in state:  # it asks itself
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
            if type(self) is _Later:
                state["_runs"] = True
                try:
                    self.__spec__.loader.exec_module(self)  # type: ignore[union-attr] # one that was found has both
                    object.__setattr__(self, "__class__", ModuleType)
                finally:
                    del state["_runs"]
        return getattr(self, name)


def postpone(*names: str) -> None:
    """Let these modules run when something of them is used; parts of a package can be imported without it.

    Whoever imports a name out of one, or runs into it in another way, sees no difference but the time. Modules that
    are there already stay, and those that are not installed are left out.
    """
    for name in names:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Later
        sys.modules[name] = module
        parent, _, part = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], part, module)
