"""What an install would break: uv and pip do not look at what is installed besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kernels.environments.distributions import Distribution, normal, requires

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: The most that are named.
_MOST = 5


def broken(
    installed: Mapping[str, Distribution], planned: Mapping[str, str], python: str
) -> list[str]:
    """In words, the needs of installed packages that are met now and would not be any more.

    `planned`: the versions that would be installed, by names in normal form; so are those of
    `installed`. `python`: the version of the environment's Python.
    """
    found = []
    touched = {name for name, version in planned.items() if name in installed}
    for name, distribution in installed.items():
        if not touched or name in planned:
            continue
        for text in requires(distribution):
            need = _need(text, python)
            if need is None or (other := normal(need.name)) not in touched:
                continue
            if _meets(need, installed[other].version) and not _meets(need, planned[other]):
                found.append(
                    f"{distribution.name} {distribution.version} needs {need.name}"
                    f"{need.specifier}, and {planned[other]} would be installed"
                )
    return found if len(found) <= _MOST else [*found[:_MOST], f"and {len(found) - _MOST} more"]


def _need(text: str, python: str) -> Requirement | None:
    """The requirement, if it holds for this Python without any extra."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        need = Requirement(text)
        if need.marker is not None:
            minor = ".".join(python.split(".")[:2])
            facts = {"extra": ""}
            if python:
                facts |= {"python_version": minor, "python_full_version": python}
            if not need.marker.evaluate(facts):
                return None
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
        return None
    return need


def _meets(need: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion

    try:
        return need.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return True
