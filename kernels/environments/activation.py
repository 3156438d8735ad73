"""What activating an environment changes for the processes in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kernels.environments import conda, layout
from kernels.environments.describing import describe
from kernels.environments.environment import Activation, Environment
from kernels.environments.sites import venv_settings
from kernels.environments.sourcing import source

#: What activating sets, and what makes one Python believe that it is another.
_MARKS = frozenset(
    {
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "CONDA_SHLVL",
        "CONDA_PROMPT_MODIFIER",
        "PYTHONHOME",
        "PYTHONEXECUTABLE",
        "__PYVENV_LAUNCHER__",
        "POETRY_ACTIVE",
        "PIPENV_ACTIVE",
        "_OLD_VIRTUAL_PATH",
        "_OLD_VIRTUAL_PYTHONHOME",
        "_OLD_VIRTUAL_PS1",
    }
)
#: The same of environments below the active one.
_STACKED = ("CONDA_PREFIX_", "CONDA_STACKED_", "__CONDA_SHLVL_")


def activation(environment: Environment, environ: Mapping[str, str]) -> Activation:
    """What differs from `environ` for a process in the environment, as if it were activated there
    and nothing were before: whatever is active in `environ` is left first.

    Its activation scripts are really run, within a limit of time; one that fails, ends the shell
    or hangs is passed over and told of in `notes`. Nothing is changed for a kernelspec. Reads the
    disk and waits for processes: call it in a thread.
    """
    prefix = environment.prefix
    if prefix is None or environment.kind == "kernelspec":
        return Activation()
    before, notes = _left(environ)
    after = _entered(environment, prefix, before)
    if environment.kind == "conda" and (scripts := conda.scripts(prefix, "activate.d")):
        sourced = source(scripts, after)
        after, notes = dict(sourced.environ), (*notes, *sourced.notes)
    return Activation(
        env={name: text for name, text in after.items() if environ.get(name) != text},
        without=frozenset(environ.keys() - after.keys()),
        notes=notes,
    )


def _left(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables as they were before anything was activated."""
    after = dict(environ)
    notes: tuple[str, ...] = ()
    level = environ.get("CONDA_SHLVL", "")
    depth = int(level) if level.isdecimal() else 0
    if (given := environ.get("CONDA_PREFIX")) and depth:
        prefix = Path(given)
        if scripts := conda.scripts(prefix, "deactivate.d"):
            sourced = source(scripts, after)
            after, notes = dict(sourced.environ), sourced.notes
        for name, text in conda.variables(prefix).items():
            if (saved := environ.get(f"__CONDA_SHLVL_{depth - 1}_{name}")) is not None:
                after[name] = saved
            elif after.get(name) == text:
                del after[name]
    entries = {
        os.path.normcase(entry)
        for kind, folder in _active(environ)
        for entry in layout.search_path(kind, folder)
    }
    if path := after.get("PATH"):
        kept = [part for part in path.split(os.pathsep) if os.path.normcase(part) not in entries]
        after["PATH"] = os.pathsep.join(kept)
    for name in list(after):
        if name in _MARKS or name.startswith(_STACKED):
            del after[name]
    return after, notes


def _active(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Kinds and prefixes of what is active there, and of this process's own environment, whose
    interpreter may have been started by its path."""
    found = []
    for name, text in environ.items():
        if text and name == "VIRTUAL_ENV":
            found.append(("venv", Path(text)))
        elif text and (name == "CONDA_PREFIX" or name.startswith("CONDA_PREFIX_")):
            found.append(("conda", Path(text)))
    own = describe(sys.executable)
    if own.prefix is not None and own.kind in ("venv", "conda"):
        found.append((own.kind, own.prefix))
    return found


def _entered(environment: Environment, prefix: Path, before: Mapping[str, str]) -> dict[str, str]:
    """The variables that its activation sets, before any script has run."""
    after = dict(before)
    path = before.get("PATH", os.defpath)
    entries = layout.search_path(environment.kind, prefix)
    if environment.kind == "python":
        # A plain one is not activated: only `python` has to mean it.
        folder = os.path.dirname(environment.python)
        entries = [] if folder in path.split(os.pathsep) else [folder]
    after["PATH"] = os.pathsep.join([*entries, *([path] if path else [])])
    if environment.kind == "venv":
        after["VIRTUAL_ENV"] = str(prefix)
        prompt = venv_settings(prefix).get("prompt", "").strip("'\"")
        after["VIRTUAL_ENV_PROMPT"] = prompt or prefix.name
    elif environment.kind == "conda":
        name = conda.name_of(prefix)
        after["CONDA_PREFIX"] = str(prefix)
        after["CONDA_DEFAULT_ENV"] = name
        after["CONDA_SHLVL"] = "1"
        after["CONDA_PROMPT_MODIFIER"] = f"({name}) "
        for variable, text in conda.variables(prefix).items():
            if text is None:
                after.pop(variable, None)
            else:
                after[variable] = text
    elif environment.kind == "pyenv":
        after["PYENV_VERSION"] = prefix.name
    return after
