"""What a conda environment asks to have set while it is active."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kernels.environments import layout
from kernels.environments.describing import label
from kernels.environments.reading import listed, text_of

#: A value of conda's own that removes the variable.
_UNSET = "***unset***"
#: Not conda's to set: it adds to PATH itself.
_RESERVED = frozenset({"PATH"})


def name_of(prefix: Path) -> str:
    """What conda calls the environment: the path of one that is not among its others."""
    own = label("conda", prefix)
    return own if own == "base" or prefix.parent.name == "envs" else str(prefix)


def variables(prefix: Path) -> dict[str, str | None]:
    """What its packages and `conda env config vars set` say; None for one that is to be removed.
    What cannot be read or is no variable is passed over."""
    found: dict[str, Any] = {}
    folder = prefix / "etc" / "conda" / "env_vars.d"
    for name in listed(folder):
        found |= _object(folder / name)
    state = _object(prefix / "conda-meta" / "state").get("env_vars")
    found |= state if isinstance(state, dict) else {}
    return {
        name: None if text == _UNSET else str(text)
        for name, text in found.items()
        if _is_name(name) and isinstance(text, (str, int, float)) and "\0" not in str(text)
    }


def scripts(prefix: Path, folder: str, windows: bool = layout.WINDOWS) -> list[Path]:
    """Its activation scripts (`folder`: "activate.d") for the shells of this platform, in order;
    those of "deactivate.d" in the order in which conda takes things back."""
    place = prefix / "etc" / "conda" / folder
    ending = ".bat" if windows else ".sh"
    names = [name for name in listed(place) if name.endswith(ending)]
    return [place / name for name in (reversed(names) if folder == "deactivate.d" else names)]


def _object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(text_of(file) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_name(name: str) -> bool:
    known = name.upper() if os.name == "nt" else name
    return bool(name) and "=" not in name and "\0" not in name and known not in _RESERVED
