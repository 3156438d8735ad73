"""What a value is, in a few words, without running any code of the program's.

A value is asked for nothing but its type, unless that is exactly one whose code is known here: a
builtin, or a class of a library that was looked up in the library itself. Neither is compared:
a metaclass may have its own idea of what is equal.
"""

from __future__ import annotations

import itertools
import sys
import types
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Tuple

#: Characters of a type or a size, and of a preview.
SHORT, PREVIEW = 80, 80
#: Elements of a container that are previewed, and how deep.
_ITEMS, _DEPTH = 6, 3
#: The longest number that is written out: the time for it grows with the square.
_BITS = 192
#: Columns of a data frame whose names are fetched.
_COLUMNS = 1000

Facts = Tuple[str, str]

#: As C defines them: neither a metaclass nor a class can put something in their place.
_type_name = vars(type)["__name__"].__get__
_type_module = vars(type)["__module__"].__get__
_type_names = vars(type)["__dict__"].__get__
_module_names = vars(types.ModuleType)["__dict__"].__get__


def describe(value: Any) -> List[str]:
    """Type, size and preview, each of which may be ""."""
    kind = type(value)
    facts = ["", "", ""]
    try:
        facts[0] = cut(full_name(kind), SHORT)
        known = _BUILTINS.get(id(kind)) or _of_a_library(kind)
        if known is not None:
            size, preview = known(value, 0)
            facts[1:] = [cut(size, SHORT), cut(preview, PREVIEW)]
    except BaseException:
        # A value in the midst of a change, or of a version that is not known here.
        pass
    return facts


def cut(text: str, length: int) -> str:
    """At most `length` characters, without any that UTF-8 cannot express."""
    text = text[: length + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= length else text[: length - 1] + "…"


def full_name(kind: type) -> str:
    """`module.Class`, with the library's name alone where the class is to be found there."""
    name, module = _exact(_type_name(kind)), _exact(_type_module(kind))
    if module == "builtins":
        return name
    top = module.partition(".")[0]
    return "%s.%s" % (top if _in_module(top, name) is kind else module, name)


def _exact(text: Any) -> str:
    """`text` without what a subclass of `str` may add; "" when it is something else."""
    return str.__getitem__(text, slice(500)) if issubclass(type(text), str) else ""


def _in_module(module: str, name: str) -> Any:
    try:
        return _module_names(sys.modules[module]).get(name)
    except Exception:
        return None


# -- builtins


def _short(value: Any, depth: int = 0) -> str:
    """An element of a container."""
    known = _BUILTINS.get(id(type(value)))
    text = known(value, depth)[1] if known is not None else ""
    return text or "<%s>" % _exact(_type_name(type(value)))


def _atom(value: Any, depth: int) -> Facts:
    return "", repr(value)


def _int(value: int, depth: int) -> Facts:
    bits = value.bit_length()
    return ("", repr(value)) if bits <= _BITS else ("%d bits" % bits, "")


def _text(value: Any, depth: int) -> Facts:
    return str(len(value)), repr(value[:PREVIEW])


def _container(brackets: Tuple[str, str], empty: str, value: Any, depth: int) -> Facts:
    length = len(value)
    return str(length), _elements(brackets, value, length, depth, _short) if length else empty


def _tuple(value: Any, depth: int) -> Facts:
    brackets = ("(", ",)" if len(value) == 1 else ")")
    return _container(brackets, "()", value, depth)


def _dict(value: Any, depth: int) -> Facts:
    def pair(item: Any, depth: int) -> str:
        return "%s: %s" % (_short(item[0], depth), _short(item[1], depth))

    length = len(value)
    return str(length), _elements(("{", "}"), value.items(), length, depth, pair)


def _elements(
    brackets: Tuple[str, str],
    values: Iterable[Any],
    length: int,
    depth: int,
    short: Callable[[Any, int], str],
) -> str:
    """The first of `values`, between brackets."""
    texts: List[str] = []
    room = PREVIEW
    # In one step, in which no other thread changes them.
    for value in list(itertools.islice(values, _ITEMS if depth < _DEPTH else 0)):
        texts.append(short(value, depth + 1))
        room -= len(texts[-1])
        if room < 0:
            break
    more = ["…"] if len(texts) < length else []
    return brackets[0] + ", ".join(texts + more) + brackets[1]


def _range(value: range, depth: int) -> Facts:
    parts = [value.start, value.stop, value.step]
    if type(value.step) is int and value.step == 1:
        del parts[2]
    preview = "range(%s)" % ", ".join(_short(part) for part in parts)
    try:
        return str(len(value)), preview
    except OverflowError:
        return "", preview


_Describer = Callable[[Any, int], Facts]
_BUILTINS: Dict[int, _Describer] = {
    **{id(kind): _atom for kind in (type(None), bool, float, complex, type(...))},
    **{id(kind): _text for kind in (str, bytes, bytearray)},
    id(int): _int,
    id(list): partial(_container, ("[", "]"), "[]"),
    id(tuple): _tuple,
    id(set): partial(_container, ("{", "}"), "set()"),
    id(frozenset): partial(_container, ("frozenset({", "})"), "frozenset()"),
    id(dict): _dict,
    id(range): _range,
}


# -- libraries


def _of_a_library(kind: type) -> Any:
    name = full_name(kind)
    module, _, short = name.rpartition(".")
    # A class of the program's may bear any name.
    if module.partition(".")[0] not in _NAMES or _in_module(module, short) is not kind:
        return None
    if module == "numpy" and issubclass(kind, _in_module("numpy", "generic")):
        return _scalar
    return _LIBRARIES.get(name)


def _maker(value: Any) -> str:
    """The library whose own class this is of; "" when it is a class of the program's."""
    kind = type(value)
    module = _exact(_type_module(kind))
    return module.partition(".")[0] if _in_module(module, _exact(_type_name(kind))) is kind else ""


def _is(value: Any, name: str) -> bool:
    return type(value) is _in_module("pandas", name)


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return "%.3g %s" % (size, units[0])


def _array(value: Any, depth: int) -> Facts:
    return _short(value.shape), "%s, %s" % (value.dtype.name, _bytes(value.nbytes))


def _scalar(value: Any, depth: int) -> Facts:
    # A structure may hold objects.
    plain = value.nbytes <= PREVIEW and value.dtype.kind not in "VO"
    return "", str(value) if plain else value.dtype.name


def _frame(value: Any, depth: int) -> Facts:
    columns, rows = value._mgr.axes
    size = "(%s, %s)" % (_length(rows), _length(columns))
    if _is(columns, "RangeIndex"):
        return size, ""
    labels = _storage(columns)[: _ITEMS + 1]
    return size, "columns " + _short(list(labels) if len(labels) else [])


def _series(value: Any, depth: int) -> Facts:
    manager = value._mgr
    values, length = manager.blocks[0].values, _length(manager.axes[0])
    return length, _dtype(values.dtype) if _maker(values) in ("numpy", "pandas") else ""


def _index(value: Any, depth: int) -> Facts:
    if _is(value, "RangeIndex"):
        return _length(value), "int64"
    return _length(value), _dtype(_storage(value).dtype)


def _length(index: Any) -> str:
    """The length of an index of pandas; "" when that is for a class of the program's to say."""
    if _maker(index) != "pandas":
        return ""
    if _is(index, "RangeIndex") or _is(index, "MultiIndex"):
        return str(len(index))
    return str(len(_storage(index)))


def _storage(index: Any) -> Any:
    """The array behind an index. An array of the program's own raises."""
    data = vars(index)["_data"]
    if _maker(data) not in ("numpy", "pandas"):
        raise TypeError
    return data


def _dtype(dtype: Any) -> str:
    """Its name. Some names are made with the help of objects of the program's, a time zone."""
    kind = type(dtype)
    if _maker(dtype) == "numpy" or full_name(kind) == "pandas.StringDtype":
        return str(dtype.name)
    name = _type_names(kind).get("name")
    return name if type(name) is str else _exact(_type_name(kind)).replace("Dtype", "")


def _polars_frame(value: Any, depth: int) -> Facts:
    rows, columns = value.shape
    names = "columns " + _short(value.columns) if columns <= _COLUMNS else ""
    return _short((rows, columns)), names


def _polars_series(value: Any, depth: int) -> Facts:
    dtype = value.dtype
    kind = dtype if issubclass(type(dtype), type) else type(dtype)
    return str(len(value)), _exact(_type_name(kind))


def _tensor(value: Any, depth: int) -> Facts:
    return _short(tuple(value.shape)), "%s, %s" % (value.dtype, value.device)


def _data_array(value: Any, depth: int) -> Facts:
    variable = value._variable
    data, dims = variable._data, _short(tuple(variable._dims))
    if _maker(data) not in ("numpy", "dask", "xarray"):
        return "", dims
    return _short(tuple(data.shape)), dims


def _dataset(value: Any, depth: int) -> Facts:
    return "", _short(dict(value._dims))


_LIBRARIES: Dict[str, _Describer] = {
    **{"numpy." + name: _array for name in ("ndarray", "memmap", "matrix", "recarray")},
    "numpy.ma.MaskedArray": _array,
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "pandas.MultiIndex": lambda value, depth: (str(len(value)), "%d levels" % value.nlevels),
    **{
        "pandas.%sIndex" % name: _index
        for name in ("", "Range", "Datetime", "Timedelta", "Period", "Categorical", "Interval")
    },
    "polars.DataFrame": _polars_frame,
    "polars.Series": _polars_series,
    "torch.Tensor": _tensor,
    "torch.nn.parameter.Parameter": _tensor,
    "xarray.DataArray": _data_array,
    "xarray.Dataset": _dataset,
}
_NAMES = {name.partition(".")[0] for name in _LIBRARIES}
