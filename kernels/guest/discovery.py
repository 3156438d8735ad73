"""What is a script's own among all that stands in the session's namespace.

Test runners look for tests in the whole of `__main__`. Those of earlier scripts must not be
found again, although their functions and classes stay usable.
"""

from __future__ import annotations

import sys
import types
from typing import Any, Dict, List, Set


class Main(types.ModuleType):
    """The kernel's `__main__`. `dir()` leaves out what earlier runs defined.

    unittest goes through `dir()`; looking a name up does not.
    """

    def __dir__(self) -> List[str]:
        return [name for name, value in list(vars(self).items()) if not foreign.has(name, value)]


class Foreign:
    """The functions and classes that stood in the namespace when the running script began.

    `mentioned`: names that the script's code uses. An import may bind a name to the very object
    that an earlier script had imported.
    """

    def __init__(self) -> None:
        self._objects: Dict[int, object] = {}
        self._mentioned: Set[str] = set()
        self._starred = False

    def begin(self, namespace: Dict[str, Any], code: types.CodeType, source: bytes) -> None:
        """A script starts."""
        self._objects = {
            id(value): value
            for value in namespace.values()
            # By type(): `isinstance` would ask a proxy object for what it stands for.
            if issubclass(type(value), (type, types.FunctionType))
        }
        self._mentioned = set(code.co_names)
        self._starred = b"import *" in source
        if "doctest" in sys.modules or b"doctest" in source:
            _keep_doctest_apart()

    def end(self) -> None:
        """The script has ended: now everything belongs to the session."""
        self._objects = {}

    def has(self, name: str, value: object) -> bool:
        """Whether `value`, found under `name`, is an earlier script's."""
        if not self.is_older(value) or name in self._mentioned:
            return False
        if self._starred:
            modules = (sys.modules.get(module) for module in self._mentioned)
            return not any(getattr(module, name, None) is value for module in modules)
        return True

    def is_older(self, value: object) -> bool:
        """Whether `value` was defined by an earlier script."""
        return id(value) in self._objects


foreign = Foreign()


def _keep_doctest_apart() -> None:
    """Make `doctest.testmod()` pass over what earlier runs defined."""
    import doctest

    finder: Any = doctest.DocTestFinder
    if getattr(finder, "_rmi_original", None) is not None:
        return
    original = finder._from_module

    def _from_module(self: Any, module: Any, value: Any) -> bool:
        if isinstance(module, Main) and foreign.is_older(value):
            return False
        return bool(original(self, module, value))

    finder._rmi_original = original
    finder._from_module = _from_module


def definitions(code: types.CodeType) -> Set[str]:
    """Names that the module body `code` binds with `def` and `class`."""
    names: Set[str] = set()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_name.startswith("<generic"):
                names |= definitions(constant)
            elif not constant.co_name.startswith("<"):
                names.add(constant.co_name)
    return names
