"""What an environment is, and the kernelspec of its kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kernels.kernelspecs import CONNECTION_FILE, Kernelspec

Kind = Literal["conda", "venv", "pyenv", "python", "kernelspec"]
#: What the guest inside kernels is written for.
OLDEST_PYTHON, OLDEST_IPYKERNEL = (3, 8), (6, 0)


@dataclass(frozen=True)
class Environment:
    """Where kernels can run: a Python with its packages, or what a kernelspec describes.

    `name`: what a session asks for it by, the same in every answer: "conda:ds", "venv:.venv",
    "pyenv:3.12.1", "kernelspec:ir", or the path of a Python that nothing else names. `python`:
    absolute path of its interpreter; "" where a kernelspec is of another language. `prefix`: the
    folder that the environment is. `version`: of Python (or the language's name); "" where the
    files do not tell. `ipykernel`: the version that is installed there; "" where there is none.
    `kernelspec`: what Jupyter has of it, for the kind "kernelspec" alone.
    """

    name: str
    kind: Kind
    python: str
    prefix: Path | None = None
    version: str = ""
    ipykernel: str = ""
    kernelspec: Kernelspec | None = None

    @property
    def runs_kernels(self) -> bool:
        """Whether a session can be had there now."""
        if self.kernelspec is not None:
            return True
        return not self.is_too_old and as_numbers(self.ipykernel) >= OLDEST_IPYKERNEL

    @property
    def is_too_old(self) -> bool:
        """Whether its Python is known to be one that kernels cannot be of."""
        return bool(self.version) and as_numbers(self.version)[:2] < OLDEST_PYTHON

    @property
    def title(self) -> str:
        """In words: "Python 3.12.1 (conda:ds)"."""
        if self.kernelspec is not None:
            return self.kernelspec.display_name
        return f"{f'Python {self.version}'.strip()} ({self.name})"


def as_numbers(version: str) -> tuple[int, ...]:
    """The version as (3, 12, 1); what is no number ends it."""
    numbers = []
    for part in version.split("."):
        found = re.match(r"\d+", part)
        if found is None:
            break
        numbers.append(int(found[0]))
    return tuple(numbers)


@dataclass(frozen=True)
class Activation:
    """What activating an environment changes for its processes: variables that are set (whole
    values) and names that are removed. `notes`: sentences on scripts that did not work."""

    env: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """An environment that a session is to have, ready to be started.

    `kernelspec`: None for the server's usual Python. `why`: what decided it, as it stands in a
    result's line of facts ("environment.yml", "RMI_PYTHON", its script's metadata); "" where
    somebody asked for it by name. `notes`: sentences for the caller, for example of a file that
    could not be followed.
    """

    environment: Environment
    kernelspec: Kernelspec | None
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """In words: "Python 3.12.1 (conda:ds) by environment.yml"."""
        return f"{self.environment.title}{f' by {self.why}' if self.why else ''}"

    @property
    def is_unsaid(self) -> bool:
        """Whether it is what everybody expects: the Python that the server itself has, which
        nothing decided."""
        return self.kernelspec is None and not self.why

    def is_as(self, other: Chosen | None) -> bool:
        """Whether sessions of the other one run in the same place; None: in the usual one."""
        theirs = other.kernelspec if other is not None else None
        return theirs is None if self.kernelspec is None else self.kernelspec.is_as(theirs)


def kernelspec_of(environment: Environment, activation: Activation) -> Kernelspec:
    """How kernels of it are started: by its interpreter, with our guest."""
    if environment.kernelspec is not None:
        return environment.kernelspec
    return Kernelspec(
        name=environment.name,
        display_name=environment.title,
        language="python",
        argv=(environment.python, "-m", "ipykernel_launcher", "-f", CONNECTION_FILE),
        env={name: text.replace("$", "$$") for name, text in activation.env.items()},
        interrupt_mode="signal",
        without=activation.without,
    )
