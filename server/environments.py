"""Where sessions run: the environments of this machine, for the tools."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from kernels.launching import kernel_environment
from server.settings import Settings

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen, Environment
    from kernels.environments.scripts import Scripts

#: Files of an environment, and folders with what is in them, that say how it is activated.
_FILES = ("pyvenv.cfg", "conda-meta/state")
_FOLDERS = ("etc/conda/env_vars.d", "etc/conda/activate.d")
#: Environments that are remembered.
_MOST = 100

_Stamp = tuple[tuple[str, int, int, int], ...]


class Environments:
    """Finds what a call asks for. What was found is not looked for again while its files stay as
    they are. All methods but `for_script` read the disk: call them in a thread."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        # Scripts of activation have no need of the server's settings, its secrets first.
        self._environ = kernel_environment(environ)
        self._chosen: dict[str, tuple[_Stamp, Chosen]] = {}
        self._lock = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._usual: Environment | None = None
        self._scripts: Scripts | None = None

    @property
    def usual(self) -> Environment:
        """Where sessions run where nobody says."""
        if self._usual is None:
            if (default := self._settings.default) is not None and default.kernelspec is not None:
                self._usual = default.environment
            else:
                from kernels.environments.describing import describe

                projects = self._settings.projects_dir
                self._usual = describe(self._settings.python, projects, self._environ)
        return self._usual

    def back(self, why: str = "") -> Chosen:
        """The usual one, as what is chosen."""
        from kernels.environments.environment import Chosen

        return Chosen(self.usual, None, why)

    def choose(self, name: str) -> Chosen:
        """What `environment` means in a call. Raises `EnvironmentNotFound` and
        `EnvironmentUnfit`."""
        from kernels.environments.choosing import choose

        # One after another: who asks for the same finds it.
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            stamp, chosen = self._chosen.get(name, ((), None))
            if chosen is not None and _is_still(chosen.environment, stamp):
                return chosen
            projects, usual = self._settings.projects_dir, self._settings.python
            installing = bool(self._settings.allow_install)
            chosen = choose(name, projects, self._environ, usual=usual, installing=installing)
            stamp = _stamp(chosen.environment)
            with self._lock:
                while len(self._chosen) >= _MOST:
                    del self._chosen[next(iter(self._chosen))]
                self._chosen[name] = stamp, chosen
            return chosen

    async def for_script(
        self, path: Path, source: bytes, tell: Callable[[str], None] = lambda line: None
    ) -> Chosen | None:
        """The environment that a script's own metadata ask for (PEP 723); None where it has none.
        `tell` hears what uv says while it makes it.

        `kernelspec` is None where they could not be followed, and `notes` say why. Raises
        `KernelError` for those that cannot be met.
        """
        # Nobody's start waits for it.
        from kernels.environments import scripts
        from kernels.environments.choosing import chosen

        needs = scripts.metadata(source)
        if needs is None:
            return None
        if self._scripts is None:
            self._scripts = scripts.Scripts(self._settings.state_dir)
        projects = self._settings.projects_dir
        name = path.relative_to(projects).as_posix() if path.is_relative_to(projects) else path.name
        made = await self._scripts.prepare(needs, name, self._environ, tell)
        if made is None:
            words = "uv is not installed, so the script's metadata were not followed"
            usual = await asyncio.to_thread(self.back)
            return replace(usual, notes=(words,))
        return await asyncio.to_thread(chosen, made, self._environ, "its metadata")

    def all(self) -> list[Environment]:
        """All that there are, in the order of `find_all`."""
        from kernels.environments.finding import find_all

        return find_all(self._settings.projects_dir, self._environ)


def _is_still(environment: Environment, stamp: _Stamp) -> bool:
    """Whether it is as it was when it had this stamp."""
    if environment.kernelspec is None:
        return stamp == _stamp(environment)
    from kernels import kernelspecs
    from kernels.errors import KernelspecNotFound

    try:
        return kernelspecs.find(environment.kernelspec.name) == environment.kernelspec
    except KernelspecNotFound:
        return False


def _stamp(environment: Environment) -> _Stamp:
    """What changes with any of the files that decide how kernels start there."""
    prefix = environment.prefix
    paths = [environment.python]
    if prefix is not None:
        paths += [str(prefix / name) for name in _FILES]
        for name in _FOLDERS:
            folder = str(prefix / name)
            try:
                inside = sorted(os.listdir(folder))
            except OSError:
                inside = []
            paths += [folder, *(os.path.join(folder, file) for file in inside)]
    stamps = []
    for path in paths:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            stamps.append((path, 0, 0, 0))
        else:
            stamps.append((path, found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(stamps)
