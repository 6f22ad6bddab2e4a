"""Wraps modules at the moment the engine imports them. Nothing is imported that the engine does not import itself."""

import importlib.abc
import sys

from . import core


def _patchers():
    """Module name -> what wraps it. The functions import nothing of the engine."""
    from . import engines, kv, mpi, torch_hooks

    table = {
        "torch.distributed.distributed_c10d": torch_hooks.patch,
        "mpi4py.MPI": mpi.patch,
    }
    table.update(engines.PATCHERS)
    table.update(kv.PATCHERS)
    return table


class _Loader(importlib.abc.Loader):
    """Stands in for a module's loader while it is executed, then gives the module its own back."""

    def __init__(self, inner, patch):
        self._inner = inner
        self._patch = patch

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def create_module(self, spec):
        return self._inner.create_module(spec)

    def exec_module(self, module):
        try:
            spec = module.__spec__
            if spec is not None and spec.loader is self:
                spec.loader = self._inner
            if getattr(module, "__loader__", None) is self:
                module.__loader__ = self._inner
        except Exception as error:
            core.quiet(error)
        self._inner.exec_module(module)
        apply(self._patch, module)


def apply(patch, module):
    """Wraps a module; a module that is not as expected stays as it is."""
    try:
        patch(module)
    except Exception as error:
        core.quiet(error)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, table):
        self.table = table
        self.busy = set()

    def find_spec(self, fullname, path=None, target=None):
        patch = self.table.get(fullname)
        if patch is None or fullname in self.busy:
            return None
        self.busy.add(fullname)
        try:
            for finder in sys.meta_path:
                if finder is self or not hasattr(finder, "find_spec"):
                    continue
                spec = finder.find_spec(fullname, path, target)
                if spec is None:
                    continue
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, patch)
                return spec
            return None
        finally:
            self.busy.discard(fullname)


def install():
    table = _patchers()
    for name, patch in table.items():
        module = sys.modules.get(name)
        if module is not None:
            apply(patch, module)
    sys.meta_path.insert(0, _Finder(table))
