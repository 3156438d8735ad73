"""What the session's variables are, told beside a run that is going on.

The server asks with a message of type `REQUEST` on the control channel, whose content names the
`limit` of variables to show. It is answered with one of type `REPLY`:

    {"total": 3, "shown": [[name, type, size, preview], ...],
     "others": {"functions": {"total": 1, "names": [name]}, "classes": ..., "modules": ...}}

The last-defined names are shown, in the order of their definition; size and preview may be "".

The answer is made beside the program (see `beside`), which must not notice. So values are touched
one at a time, because a second reference to an object can be noticed; see `previews` for what they
are asked.
"""

from __future__ import annotations

import itertools
import json
import operator
import sys
import time
import types
from typing import Any, Dict, List, Optional, Tuple

from .beside import answer
from .previews import SHORT, cut, describe, full_name

REQUEST, REPLY = "rmi_variables_request", "rmi_variables_reply"
#: Bytes of the shown variables, and of the names in each group of others.
_SHOWN_BYTES, _OTHER_BYTES = 48_000, 4_000
#: Seconds, of the five milliseconds that a thread has while others wait, after which this one
#: lets them before it touches any value.
_TURN = 0.003
_ABSENT: Any = object()
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
_FUNCTION_NAMES = ("functools._lru_cache_wrapper", "numpy.ufunc")


class Variables:
    """Answers for `namespace`. What stands in it now is hidden for as long as it is the same."""

    def __init__(self, kernel: Any, namespace: Dict[Any, Any]) -> None:
        self._kernel, self._namespace = kernel, namespace
        self._hidden = dict(namespace)
        answer(kernel, REQUEST, REPLY, lambda asked: self._answer(int(asked["limit"])))

    def _answer(self, limit: int) -> Dict[str, Any]:
        begun = time.monotonic()
        names: List[str] = []
        others: Dict[str, List[str]] = {"functions": [], "classes": [], "modules": []}
        # By number: a metaclass may have its own idea of hashes and of what is equal.
        groups: Dict[int, List[str]] = {}
        found, hidden = _names_and_types(self._namespace), self._hidden
        # A name of another type could compare itself with one that is looked up.
        plain = all(type(name) is str for name, _kind in found)
        for name, kind in found:
            if type(name) is not str or name[:1] == "_":
                continue
            if name in hidden and _look_up(self._namespace, name, plain) is hidden[name]:
                continue
            group = groups.get(id(kind))
            if group is None:
                group = groups[id(kind)] = others.get(_group(kind), names)
            group.append(name)
        if time.monotonic() - begun > _TURN:
            # Its turn begins anew, and hardly ever ends while a value is in hand.
            time.sleep(0)
        return {
            "total": len(names),
            "shown": self._last(names, limit, plain),
            "others": {group: _bounded(members) for group, members in others.items() if members},
        }

    def _last(self, names: List[str], limit: int, plain: bool) -> List[List[str]]:
        """The last of the variables, as many as fit."""
        shown: List[List[str]] = []
        room = _SHOWN_BYTES
        for name in itertools.islice(reversed(names), max(limit, 0)):
            facts = self._facts(name, plain)
            if facts is None:
                continue
            entry = [cut(name, SHORT), *facts]
            room -= len(json.dumps(entry))
            if room < 0:
                break
            shown.append(entry)
        return shown[::-1]

    def _facts(self, name: str, plain: bool) -> Optional[List[str]]:
        value = _look_up(self._namespace, name, plain)
        if value is _ABSENT:
            return None
        facts = describe(value)
        if sys.getrefcount(value) <= _ONLY_HERE:
            # The program has let go of it meanwhile. It must not end here: what it does then
            # (`__del__`) belongs into the main thread.
            last = [value]
            del value
            self._kernel.io_loop.add_callback(last.clear)
        return facts


def _references_of_a_local() -> int:
    value = object()
    return sys.getrefcount(value)


_ONLY_HERE = _references_of_a_local()


def _names_and_types(namespace: Dict[Any, Any]) -> List[Tuple[Any, type]]:
    for _attempt in range(20):
        try:
            # One step for the interpreter, in which no other thread runs.
            return list(zip(namespace, map(type, namespace.values())))
        except RuntimeError:
            # The garbage collector has, within it.
            continue
    return []


def _look_up(namespace: Dict[Any, Any], name: str, plain: bool) -> Any:
    if plain:
        return namespace.get(name, _ABSENT)
    is_it = map(operator.is_, namespace, itertools.repeat(name))
    return next(itertools.compress(namespace.values(), is_it), _ABSENT)


def _group(kind: type) -> str:
    if issubclass(kind, type):
        return "classes"
    if issubclass(kind, types.ModuleType):
        return "modules"
    if any(kind is known for known in _FUNCTIONS) or full_name(kind) in _FUNCTION_NAMES:
        return "functions"
    return ""


def _bounded(names: List[str]) -> Dict[str, Any]:
    """The last of the names, as many as fit."""
    shown: List[str] = []
    room = _OTHER_BYTES
    for name in reversed(names):
        name = cut(name, SHORT)
        room -= len(json.dumps(name)) + 2
        if room < 0:
            break
        shown.append(name)
    return {"total": len(names), "names": shown[::-1]}
