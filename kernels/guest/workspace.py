"""The modules that a user's scripts import from beside them: never stale, never another folder's.

`python file.py` reads a helper module anew each time. A kernel lives on, so before each run the
helpers whose source has changed are forgotten. All of them are forgotten together, because they
hold references to one another. Helpers of another script's folder are put aside while this
script runs, as `python` would not find them, and come back with the next script of their folder.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

Stamp = Optional[Tuple[int, int]]


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Workspace:
    """Knows which loaded modules are the user's, and forgets those that changed.

    A module is the user's when it was found through a `sys.path` entry that the kernel did not
    have when it started: a script's folder, or the working directory.
    """

    def __init__(self) -> None:
        self._base = {os.path.realpath(entry) for entry in sys.path if entry}
        self._stamps: Dict[str, Stamp] = {}
        self._aside: Dict[str, Dict[str, Any]] = {}
        workspace = self

        class Loader(importlib.machinery.SourceFileLoader):
            """Remembers the source that was read, and distrusts bytecode as old as the source.

            Bytecode names its source by whole seconds and size, so an edit within the second
            that leaves the size alone would go unseen.
            """

            def get_data(self, path: str) -> bytes:
                if path.endswith(".py"):
                    workspace._stamps[path] = _stamp(path)
                elif path.endswith(".pyc"):
                    source = _stamp(self.path)
                    compiled = _stamp(path)
                    if source and compiled and compiled[0] <= source[0] + 10_000_000:
                        raise OSError("bytecode as old as its source")
                return super().get_data(path)

        hook = importlib.machinery.FileFinder.path_hook(
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (Loader, importlib.machinery.SOURCE_SUFFIXES),
            (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
        )

        def user_path_hook(path: str) -> Any:
            if workspace._is_base(path or os.getcwd()):
                raise ImportError("not a user's folder", path=path)
            return hook(path)

        sys.path_hooks.insert(0, user_path_hook)
        for entry in list(sys.path_importer_cache):
            if not self._is_base(entry):
                del sys.path_importer_cache[entry]

    def _is_base(self, path: str) -> bool:
        real = os.path.realpath(path)
        if real in self._base:
            return True
        return any(real.startswith(base + os.sep) for base in self._base) and (
            "site-packages" in real or "dist-packages" in real or real.startswith(_STDLIB)
        )

    def _modules(self) -> List[Tuple[str, str]]:
        """(name, source file) of every loaded module of the user's."""
        found = []
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path in self._stamps and name != "__main__":
                found.append((name, path))
        return found

    def refresh(self, folder: Optional[str] = None) -> None:
        """Make imports from now on what a fresh `python` in `folder` would see.

        `folder` None (a cell) only forgets what has changed.
        """
        modules = self._modules()
        if any(_stamp(path) != self._stamps[path] for _name, path in modules):
            for name, path in modules:
                sys.modules.pop(name, None)
                self._stamps.pop(path, None)
            self._aside.clear()
        elif folder is not None:
            self._switch(modules, os.path.realpath(folder))
        importlib.invalidate_caches()

    def _switch(self, modules: List[Tuple[str, str]], folder: str) -> None:
        reachable = {os.path.realpath(entry) for entry in sys.path if entry} | {folder}
        paths = dict(modules)
        for name, path in modules:
            top = name.partition(".")[0]
            root = os.path.dirname(os.path.realpath(paths.get(top, path)))
            if top in paths and os.path.basename(paths[top]).startswith("__init__."):
                root = os.path.dirname(root)
            if root not in reachable:
                self._aside.setdefault(root, {})[name] = sys.modules.pop(name)
        for name, module in self._aside.pop(folder, {}).items():
            if _stamp(getattr(module, "__file__", "")) == self._stamps.get(module.__file__):
                sys.modules.setdefault(name, module)


_STDLIB = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
