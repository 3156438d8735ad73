"""The environments of this machine, without starting a process."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kernels import kernelspecs
from kernels.environments.describing import describe, describe_kernelspec, interpreter
from kernels.environments.environment import Environment
from kernels.environments.places import conda_prefixes, pyenv_prefixes, venv_prefixes
from kernels.environments.reading import folders_in

_ORDER = ("conda", "venv", "pyenv", "python", "kernelspec")


def find_all(
    projects: Path, environ: Mapping[str, str], kernelspecs_too: bool = True
) -> list[Environment]:
    """All, in the order conda, venv, pyenv, plain Pythons, kernelspecs, each by name; no two of one
    name, and each real prefix once. The Python of this process is among them.

    What cannot be read is passed over. `kernelspecs_too`: without them it takes less time. Reads
    the disk: call it in a thread.
    """
    places = [
        *conda_prefixes(environ),
        *venv_prefixes(projects, environ),
        *pyenv_prefixes(environ),
    ]
    found = list(_of_prefixes(places, projects, environ))
    if kernelspecs_too and _may_be_kernelspecs():
        found += _of_kernelspecs(projects, environ)
    return _with_own_names(sorted(found, key=_rank))


def _of_prefixes(
    prefixes: Iterable[Path], projects: Path, environ: Mapping[str, str]
) -> Iterator[Environment]:
    own = describe(sys.executable, projects, environ)
    seen = {_real(own.prefix)} if own.prefix is not None else set()
    yield own
    for prefix in prefixes:
        real = _real(prefix)
        if real in seen:
            continue
        seen.add(real)
        if (python := interpreter(prefix)) is not None:
            yield describe(str(python), projects, environ)


def _of_kernelspecs(projects: Path, environ: Mapping[str, str]) -> Iterator[Environment]:
    for spec in kernelspecs.installed():
        # What Jupyter calls the Python of this process, which is there already.
        if not spec.is_default:
            yield describe_kernelspec(spec, projects, environ)


def _may_be_kernelspecs() -> bool:
    """Whether there is any but that of this process's Python: mostly there is none, and what reads
    them takes longer to be imported than all else takes."""
    from jupyter_core.paths import jupyter_path

    own = os.path.join(sys.prefix, "share", "jupyter", "kernels")
    ipython = os.environ.get("IPYTHONDIR") or os.path.expanduser(os.path.join("~", ".ipython"))
    for folder in (*jupyter_path("kernels"), os.path.join(ipython, "kernels")):
        names = set(folders_in(Path(folder)))
        if names - ({"python3"} if os.path.normcase(folder) == os.path.normcase(own) else set()):
            return True
    return False


def _real(prefix: Path) -> str:
    return os.path.normcase(os.path.realpath(prefix))


def _rank(environment: Environment) -> tuple[int, bool, list[tuple[str, int]]]:
    kind, name = environment.kind, environment.name.lower()
    # 3.9 comes before 3.10.
    parts = [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]
    return _ORDER.index(kind), name != "conda:base", parts


def _with_own_names(found: list[Environment]) -> list[Environment]:
    """Those that share a name are called by their paths."""
    names = Counter(environment.name for environment in found)
    return [
        dataclasses.replace(environment, name=f"{environment.kind}:{environment.prefix}")
        if names[environment.name] > 1
        else environment
        for environment in found
    ]
