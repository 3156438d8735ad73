"""Which modules the session has imported, told beside a run that is going on (see `beside`).

{"names": ["PIL", "google.protobuf"]}   are answered with   {"imported": ["PIL"]}
"""

from __future__ import annotations

import sys
from typing import Any, Dict

from .beside import answer

REQUEST, REPLY = "rmi_imported_request", "rmi_imported_reply"


def tell_what_is_imported(kernel: Any) -> None:
    """Answer such questions."""
    answer(kernel, REQUEST, REPLY, _answer)


def _answer(content: Dict[str, Any]) -> Dict[str, Any]:
    # A name of another type than `str` could compare itself with one that is looked up.
    there = {name for name in list(sys.modules) if type(name) is str}
    return {"imported": [name for name in content["names"] if name in there]}
