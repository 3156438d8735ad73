"""The modules that a user's scripts import from beside them: never stale, never another folder's.

`python file.py` reads a helper module anew each time. A kernel lives on, so before each run the
helpers whose source has changed are forgotten. All of them are forgotten together, because they
hold references to one another. Helpers of another script's folder are put aside while this
script runs, as `python` would not find them, and come back with the next script of their folder.
So are modules of the library in whose place the script's folder has one of the same name.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import os
import sys
import sysconfig
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple

Stamp = Optional[Tuple[int, int]]


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Workspace:
    """Knows which loaded modules are the user's, and forgets those that changed.

    A module is the user's when it was found outside of Python's library and of the folders of
    installed packages. `forgotten` is told the names of those that will be imported again.
    """

    def __init__(self, forgotten: Callable[[Set[str]], None]) -> None:
        self._forgotten = forgotten
        paths = sysconfig.get_paths()
        self._library = tuple(
            os.path.realpath(paths[name]) + os.sep for name in ("stdlib", "platstdlib")
        )
        #: name of a module of the user's: its source, and that as it was when it was read.
        self._read: Dict[str, Tuple[str, Stamp]] = {}
        #: Names in `sys.modules` that have been looked at.
        self._seen: Set[str] = set(sys.modules)
        #: folder: its modules that are put aside.
        self._aside: Dict[str, Dict[str, Any]] = {}
        sys.path_hooks.insert(0, self._path_hook(self._loader()))
        for entry in list(sys.path_importer_cache):
            if not self._is_installed(entry):
                del sys.path_importer_cache[entry]

    def _loader(self) -> Any:
        read = self._read

        class Loader(importlib.machinery.SourceFileLoader):
            """Remembers the source that was read, and distrusts bytecode as old as the source.

            Bytecode names its source by whole seconds and size, so an edit within the second
            that leaves the size alone would go unseen.
            """

            def path_stats(self, path: str) -> Any:
                read[self.name] = path, _stamp(path)
                return super().path_stats(path)

            def get_data(self, path: str) -> bytes:
                if path.endswith(".pyc"):
                    source, compiled = _stamp(self.path), _stamp(path)
                    if source and compiled and compiled[0] <= source[0] + 10_000_000:
                        raise OSError("bytecode as old as its source")
                return super().get_data(path)

        return Loader

    def _path_hook(self, loader: Any) -> Any:
        hook = importlib.machinery.FileFinder.path_hook(
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (loader, importlib.machinery.SOURCE_SUFFIXES),
            (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
        )

        def user_path_hook(path: str) -> Any:
            if self._is_installed(path or os.getcwd()):
                raise ImportError("not a user's folder", path=path)
            return hook(path)

        return user_path_hook

    def _is_installed(self, path: str) -> bool:
        real = os.path.realpath(path) + os.sep
        return (
            real.startswith(self._library)
            or os.sep + "site-packages" + os.sep in real
            or os.sep + "dist-packages" + os.sep in real
        )

    def _notice(self) -> None:
        """Look for modules of the user's that another loader has brought, as pytest's does."""
        new = sys.modules.keys() - self._seen
        self._seen |= new
        for name in new - self._read.keys() - {"__main__", "__mp_main__"}:
            # Not by attribute: that would make a lazy module load.
            path = getattr(sys.modules.get(name), "__dict__", {}).get("__file__")
            if isinstance(path, str) and path.endswith(".py") and not self._is_installed(path):
                self._read[name] = path, _stamp(path)

    def refresh(self) -> None:
        """Forget the user's modules when any of them has changed."""
        self._notice()
        loaded = [(name, *self._read[name]) for name in self._read if name in sys.modules]
        if any(_stamp(path) != stamp for _name, path, stamp in loaded):
            self._forgotten(set(self._read))
            _take_out(name for name, _path, _stamp in loaded)
            _take_out(self._namespace_packages())
            self._seen -= self._read.keys()
            self._read.clear()
            self._aside.clear()
        importlib.invalidate_caches()

    def _namespace_packages(self) -> Set[str]:
        """Packages without a file of their own, over modules of the user's."""
        parents = {name.rpartition(".")[0] for name in self._read}
        found = set()
        while parents:
            found |= {p for p in parents if p in sys.modules and p not in self._read}
            parents = {p.rpartition(".")[0] for p in parents if "." in p}
        return found

    @contextlib.contextmanager
    def script(self, path: str) -> Iterator[None]:
        """While the script at `path` runs, imports find what a fresh `python` would find."""
        folder = os.path.realpath(os.path.dirname(path))
        self._notice()
        self._put_aside(folder)
        shadowed = _take_out(self._shadowed(folder))
        sys.modules.update(self._aside.pop(folder, {}))
        self.refresh()
        try:
            yield
        finally:
            self._notice()
            if shadowed:
                # What stood in their place is the script's; the session has the library's.
                own = _take_out(name for name in shadowed if name in sys.modules)
                self._aside.setdefault(folder, {}).update(own)
                sys.modules.update(shadowed)

    def _put_aside(self, folder: str) -> None:
        """Put aside the modules that the script in `folder` would not find."""
        reachable = {os.path.realpath(entry) for entry in sys.path} | {folder}
        roots: Dict[str, str] = {}
        for name, (path, _stamp) in self._read.items():
            # The folder in which the top of its package was found.
            root = os.path.dirname(path)
            if os.path.basename(path).startswith("__init__."):
                root = os.path.dirname(root)
            for _ in range(name.count(".")):
                root = os.path.dirname(root)
            roots[name] = os.path.realpath(root)
        for package in self._namespace_packages():
            inside = next(name for name in roots if name.startswith(package + "."))
            roots[package] = roots[inside]
        for name, root in roots.items():
            if root not in reachable and name in sys.modules:
                self._aside.setdefault(root, {})[name] = sys.modules.pop(name)

    def _shadowed(self, folder: str) -> Set[str]:
        """Loaded modules from elsewhere that `import` would find in `folder` first."""
        here = {entry.partition(".")[0] for entry in _entries(folder)}
        names = set()
        for top in here & sys.modules.keys():
            module = sys.modules[top]
            spec = getattr(module, "__spec__", None)
            origin = getattr(spec, "origin", None)
            if top in _ALWAYS_LOADED or origin in (None, "built-in", "frozen"):
                continue
            if os.path.realpath(origin).startswith(folder + os.sep):
                continue
            found = importlib.machinery.PathFinder.find_spec(top, [folder])
            if found is not None and found.origin is not None:
                names |= {n for n in sys.modules if n == top or n.startswith(top + ".")}
        return names


def _take_out(names: Iterable[str]) -> Dict[str, Any]:
    return {name: sys.modules.pop(name) for name in list(names)}


def _entries(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


#: Loaded before any script, so that no file beside a script can take their place.
_ALWAYS_LOADED = {"__main__", "sys", "builtins", "encodings", "codecs", "io", "abc", "os", "site",
                  "stat", "posixpath", "ntpath", "genericpath", "zipimport", "_collections_abc",
                  "_sitebuiltins"}  # fmt: skip
