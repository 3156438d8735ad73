"""Settings of the agent: the environment and the `.env` file, by the server's rule."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from client.agent.errors import AgentError

_ROOT = Path(__file__).resolve().parent.parent.parent
#: Where keys stand. None of these is handed on, whichever of them is used.
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")


def read(environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """What is set; the environment wins over the `.env` file, which is the checkout's, or that of
    the working directory for an installed package.

    The keys are taken out of `environ`: the server that is started from here does not get them,
    and so its kernels do not. Raises `AgentError`.
    """
    values = {**_env_file(), **environ}
    for name in KEYS:
        environ.pop(name, None)
    return values


def _env_file() -> dict[str, str]:
    path = (_ROOT if (_ROOT / "pyproject.toml").is_file() else Path.cwd()) / ".env"
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AgentError(f"{path} cannot be read: {reason}.") from None
    return {name: value for name, value in found.items() if value is not None}


def state_folder(values: dict[str, str]) -> Path:
    """Where conversations are kept: in RMI_STATE_DIR, or the user's folder for such things."""
    given = values.get("RMI_STATE_DIR", "").strip()
    try:
        if given:
            return Path(given).expanduser().absolute() / "conversations"
        if sys.platform == "win32":
            base = values.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = values.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        raise AgentError("There is no home folder for conversations; set RMI_STATE_DIR.") from None
    return Path(base) / "rmi-agent-mcp-server" / "conversations"
