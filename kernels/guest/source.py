"""A script's source: decoded, compiled, and refused in `python`'s own words."""

from __future__ import annotations

import ast
import inspect
import io
import linecache
import os
import tempfile
import tokenize
import types
import warnings
from typing import Any, Dict, Tuple


def remember(path: str, source: bytes) -> None:
    """Let tracebacks and `inspect` show what ran, whatever becomes of the file."""
    try:
        encoding, _lines = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding, "replace")
    except (SyntaxError, LookupError):
        text = source.decode("utf-8", "replace")
    lines = io.StringIO(text).readlines()
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    linecache.cache[path] = (len(source), None, lines, path)


def compile_script(path: str, source: bytes) -> Tuple[types.CodeType, bool]:
    """The code of a script, and whether it awaits at its top level, which `python` refuses."""
    try:
        return compile(source, path, "exec", dont_inherit=True), False
    except SyntaxError:
        # `await` outside a function: what a cell may do, a script may do here, too.
        flags = getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = compile(source, path, "exec", flags=flags, dont_inherit=True)
        except (SyntaxError, ValueError):
            code = None
        if code is None or not code.co_flags & inspect.CO_COROUTINE:
            raise
        return code, True


def read_by_python(path: str, source: bytes, namespace: Dict[str, Any]) -> bool:
    """Have `python` itself run a source that `compile` refused, for the sake of its error.

    It reads scripts through another tokenizer, that of files, whose errors differ in the line or
    the caret that they show and in what they say about encodings. Returns whether it ran, which
    it does not where Python's library or C's cannot be reached.
    """
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        python = ctypes.PyDLL(None)
        fdopen, fclose, run = libc.fdopen, libc.fclose, python.PyRun_FileExFlags
    except (ImportError, OSError, AttributeError, TypeError):
        return False
    fdopen.restype, fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    run.restype = ctypes.py_object
    run.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.py_object,
        ctypes.py_object,
        ctypes.c_int,
        ctypes.c_void_p,
    ]
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        # `compile` has given them.
        warnings.simplefilter("ignore")
        file.write(source)
        file.flush()
        file.seek(0)
        stream = fdopen(os.dup(file.fileno()), b"r")
        try:
            # 257: Py_file_input.
            run(stream, os.fsencode(path), 257, namespace, namespace, 0, None)
        finally:
            fclose(stream)
    return True
