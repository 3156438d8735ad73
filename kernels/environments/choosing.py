"""From a name or a path to the environment that is meant by it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from kernels import kernelspecs
from kernels.environments import layout
from kernels.environments.activation import activation
from kernels.environments.describing import PLAIN, describe, interpreter, is_own, label
from kernels.environments.environment import Chosen, Environment, kernelspec_of
from kernels.environments.finding import find_all
from kernels.environments.unfit import why_unfit
from kernels.errors import EnvironmentNotFound, EnvironmentUnfit, KernelspecNotFound

KINDS = ("conda", "venv", "pyenv", "python", "kernelspec")
#: Characters of a name that are repeated, and environments that are named in an answer.
_LONGEST, _MOST = 200, 8


def named(text: str, projects: Path, environ: Mapping[str, str]) -> Environment:
    """The environment of that name or at that path, whether it can run kernels or not.

    `text`: "conda:ds", "ds", "venv:.venv", "pyenv:3.12", "kernelspec:ir", "ir", or the path of a
    prefix or an interpreter, from the projects directory where it is not absolute. Raises
    `EnvironmentNotFound`, also for a name that several have. Reads the disk: call it in a thread.
    """
    text = text.strip()
    if not text or "\0" in text:
        raise EnvironmentNotFound(
            "The name of the environment is empty. Give a name such as conda:ds or venv:.venv, or "
            "the path of a prefix or an interpreter."
        )
    kind, rest = _split(text)
    may_be_kernelspec = kind == "kernelspec" or not (kind or _is_path(rest))
    found = find_all(projects, environ, kernelspecs_too=may_be_kernelspec)
    if kind != "kernelspec" and (path := _as_path(rest, projects, environ)) is not None:
        environment = _at(path, found, projects, environ)
        # "conda:ds" does not mean a venv `ds` of the projects directory.
        if environment is not None and (_is_path(rest) or kind in ("", environment.kind)):
            return environment
        if _is_path(rest):
            raise EnvironmentNotFound(_no_prefix(path))
    candidates = _meant(text, kind, rest, found)
    if len(candidates) > 1:
        names = _listed(environment.name for environment in candidates)
        raise EnvironmentNotFound(
            f"{text[:_LONGEST]!r} is the name of {len(candidates)} environments: {names}. "
            "Give one of these names in full."
        )
    if candidates:
        return candidates[0]
    raise EnvironmentNotFound(_unknown(text, kind, rest, found))


def choose(
    text: str,
    projects: Path,
    environ: Mapping[str, str],
    why: str = "",
    usual: str = "",
    installing: bool = False,
) -> Chosen:
    """What `named` finds, activated and ready to be started; `kernelspec` is None where it is the
    Python that sessions have anyway: `usual`, this process's own when omitted.

    Raises `EnvironmentNotFound`, and `EnvironmentUnfit` with the way out when it cannot run
    kernels as its files stand; `installing`: whether that may name the tool install_packages.
    Runs its activation scripts: call it in a thread.
    """
    return chosen(named(text, projects, environ), environ, why, usual, installing)


def chosen(
    environment: Environment,
    environ: Mapping[str, str],
    why: str = "",
    usual: str = "",
    installing: bool = False,
) -> Chosen:
    """The same for an environment that is known already."""
    if trouble := why_unfit(environment, installing):
        raise EnvironmentUnfit(trouble)
    spec = environment.kernelspec
    if spec is not None:
        return Chosen(environment, None if spec.is_default else spec, why)
    same = os.path.normcase(usual) == os.path.normcase(environment.python)
    if same if usual else is_own(environment.python):
        return Chosen(environment, None, why)
    active = activation(environment, environ)
    return Chosen(environment, kernelspec_of(environment, active), why, active.notes)


def is_fitting_version(asked: str, version: str) -> bool:
    """Whether "3.12" or "3.12.1" is said of the version 3.12.1."""
    return version == asked or version.startswith(asked + ".")


def _split(text: str) -> tuple[str, str]:
    """The kind that a name begins with, or "", and the rest."""
    kind, colon, rest = text.partition(":")
    return (kind, rest) if colon and kind in KINDS and rest else ("", text)


def _is_path(text: str) -> bool:
    """Whether it can only be meant as one."""
    separators = ("/", "\\") if layout.WINDOWS else ("/",)
    return text.startswith("~") or any(separator in text for separator in separators)


def _as_path(text: str, projects: Path, environ: Mapping[str, str]) -> Path | None:
    """Where it would be; None for a mere name of what is not in the projects directory."""
    if text == "~" or text.startswith(("~/", "~\\")):
        own = environ.get("USERPROFILE" if layout.WINDOWS else "HOME") or os.path.expanduser("~")
        text = own + text[1:]
    path = Path(os.path.normpath(projects / text))
    return path if _is_path(text) or os.path.lexists(path) else None


def _at(
    path: Path, found: Iterable[Environment], projects: Path, environ: Mapping[str, str]
) -> Environment | None:
    """The environment whose prefix or interpreter lies there."""
    python: Path | None = path if path.is_file() else interpreter(path)
    if python is None:
        return None
    described = describe(str(python), projects, environ)
    for environment in found:
        if environment.kind == "kernelspec" or environment.kind != described.kind:
            continue
        known, here = environment.prefix, described.prefix
        if environment.kind == "python":
            known, here = Path(environment.python), Path(described.python)
        if known and here and os.path.realpath(known) == os.path.realpath(here):
            if environment.kind != "python" or os.path.normcase(known) == os.path.normcase(here):
                return environment
    return described


def _no_prefix(path: Path) -> str:
    if not os.path.lexists(path):
        return f"There is no environment at {path}: nothing is there."
    for python in layout.interpreters(path):
        if os.path.islink(python):
            return (
                f"The environment at {path} has no Python any more: {python} is a link to "
                f"{os.path.realpath(python)}, which is not there. Make the environment again."
            )
    if not path.is_dir():
        return f"There is no environment at {path}: it is neither a folder nor a file."
    where = layout.interpreters(path)[-1]
    return (
        f"{path} is a folder, but no environment: there is no Python in it ({where}). "
        "Give the folder of an environment, or its interpreter."
    )


def _meant(text: str, kind: str, rest: str, found: Iterable[Environment]) -> list[Environment]:
    """Those that the name can mean, each once."""
    found = [environment for environment in found if not kind or environment.kind == kind]
    if exact := [environment for environment in found if environment.name == text]:
        return exact
    meant = [environment for environment in found if rest in _names(environment)]
    if not meant:
        meant = [one for one in found if rest.lower() in {name.lower() for name in _names(one)}]
    if not meant and re.fullmatch(r"\d+(\.\d+)*", rest):
        # As pyenv does: the newest of them.
        fitting = [
            environment
            for environment in found
            if environment.kind == "pyenv" and is_fitting_version(rest, environment.version)
        ]
        meant = fitting[-1:]
    return [one for one in meant if not _is_plainly_of(one, meant)]


def _names(environment: Environment) -> set[str]:
    names = {environment.name.partition(":")[2]}
    if environment.prefix is not None and environment.kind not in ("kernelspec", "python"):
        names.add(label(environment.kind, environment.prefix))
        if environment.prefix.name not in PLAIN:
            names.add(environment.prefix.name)
        else:
            names.add(environment.prefix.parent.name)
            # ".venv" means that of the projects, and not whatever else is called so.
            if environment.name.endswith(environment.prefix.name):
                names.add(environment.prefix.name)
    return names


def _is_plainly_of(environment: Environment, others: Iterable[Environment]) -> bool:
    """Whether it is a kernelspec that only says what another of these is."""
    spec = environment.kernelspec
    if spec is None or spec.env or spec.ipykernel is None or environment.prefix is None:
        return False
    real = os.path.realpath(environment.prefix)
    return any(
        other.kernelspec is None and other.prefix and os.path.realpath(other.prefix) == real
        for other in others
    )


def _unknown(text: str, kind: str, rest: str, found: list[Environment]) -> str:
    if kind in ("", "kernelspec") and kernelspecs.is_there(rest):
        # It is of no use, or it would have been found.
        try:
            kernelspecs.find(rest)
        except KernelspecNotFound as error:
            return str(error)
    start = f"There is no environment {text[:_LONGEST]!r}"
    names = [environment.name for environment in found if environment.runs_kernels]
    if not names:
        return f"{start}, and none on this machine can run kernels but the server's own."
    near = difflib.get_close_matches(text, names, 3, 0.5)
    return f"{start}. There are: {_listed([*near, *(one for one in names if one not in near)])}."


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - _MOST} more" if len(all_names) > _MOST else ""
    return ", ".join(all_names[:_MOST]) + more
