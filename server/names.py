"""Names of sessions that nobody has named."""

from __future__ import annotations

import hashlib
import re

#: Characters of a session's name that may be a file's.
_NAME = 80


def own_session(kind: str, file: str) -> str:
    """The name of the session of its own that a file has, for example "notebook demo.ipynb"."""
    plain = re.sub(r"[^\w./ \-]", "_", file, flags=re.ASCII)
    if plain != file or len(plain) > _NAME:
        digest = hashlib.sha256(file.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        plain = f"{plain[-_NAME:]} {digest}"
    return f"{kind} {plain}"
