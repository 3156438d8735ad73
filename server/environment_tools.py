"""The tool on environments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kernels.transcript import clean
from server.environments import Environments
from server.settings import Settings

if TYPE_CHECKING:
    from kernels.environments.environment import Environment

_MOST_CHARACTERS = 20_000


class EnvironmentTools:
    """The tool over the environments of this machine."""

    def __init__(self, settings: Settings, environments: Environments) -> None:
        self._settings, self._environments = settings, environments

    async def list_environments(self) -> str:
        return await asyncio.to_thread(self._listed)

    def _listed(self) -> str:
        usual, default = self._environments.usual, self._settings.default
        why = f", by {default.why}" if default is not None and default.why else ""
        lines = [f"Sessions run in {_title(usual)}{why}, where no `environment` is named."]
        lines += default.notes if default is not None else ()
        lines += map(_line, self._environments.all())
        text = "\n".join(map(clean, lines))
        if len(text) > _MOST_CHARACTERS:
            text = text[:_MOST_CHARACTERS].rpartition("\n")[0] + "\n[… cut]"
        return text


def _title(environment: Environment) -> str:
    """With the path, where the name is not that already."""
    named = environment.name == environment.python or not environment.python
    return environment.title + ("" if named else f" · {environment.python}")


def _line(environment: Environment) -> str:
    if environment.kind == "kernelspec" and environment.kernelspec is not None:
        facts = [environment.kernelspec.display_name, environment.version]
    else:
        facts = [f"Python {environment.version}".strip()]
    if environment.ipykernel:
        facts.append(f"ipykernel {environment.ipykernel}")
    if not environment.runs_kernels:
        old = environment.ipykernel or environment.is_too_old
        facts.append("too old for sessions" if old else "no ipykernel: runs no sessions yet")
    if environment.python and environment.python != environment.name:
        facts.append(environment.python)
    return f"{environment.name}: {' · '.join(filter(None, facts))}"
