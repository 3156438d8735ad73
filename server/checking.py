"""Checking settings without serving, for who writes them down somewhere."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping

from server import settings, values
from server.remote import http_settings
from server.values import SettingError

#: Names that are read only where something else is set, or by the client.
_BESIDES = ("RMI_OAUTH", "RMI_PUBLIC_URL", "RMI_TOKEN", "RMI_MODEL")


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raise `SettingError` for a wrong value, and for a name that looks like one of ours and is
    none: the server itself would pass over it."""
    settings.load(environ)
    http_settings.load(environ)
    for name in environ:
        upper = name.upper() if os.name != "nt" else name
        if name in values.ASKED or name.startswith(_BESIDES):
            continue
        near = difflib.get_close_matches(upper, values.ASKED, 1, 0.8)
        # Python has variables of its own that begin with PYTHON_.
        if upper.startswith("RMI_") or (upper.startswith("PYTHON_") and near):
            meant = f"; {near[0]} is one" if near else ""
            raise SettingError(f"There is no setting {name}{meant}.")
