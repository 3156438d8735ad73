"""Matplotlib figures arrive as images, without the program asking for a backend."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
from typing import Any, Dict, Iterator

_INLINE = "module://matplotlib_inline.backend_inline"


class Figures(importlib.abc.MetaPathFinder):
    """Makes the inline backend matplotlib's choice in this process.

    Not by the environment, as ipykernel does: child processes would inherit it.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        #: Matplotlib's settings as it begins with them.
        self._settings: Dict[str, Any] = {}
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The import of matplotlib passes here; nothing else does."""
        if name != "matplotlib":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec and spec.loader
        if not hasattr(loader, "exec_module"):
            sys.meta_path.insert(0, self)
            return spec
        original = loader.exec_module

        def exec_module(module: Any) -> None:
            with _backend_in_environment():
                original(module)
            self._settings = {k: v for k, v in dict.items(module.rcParams) if k != "backend"}

        loader.exec_module = exec_module
        return spec

    @contextlib.contextmanager
    def script(self) -> Iterator[None]:
        """Backend, style and settings that another script chose are not this one's."""
        matplotlib: Any = sys.modules.get("matplotlib")
        interactive = True
        if matplotlib is not None and self._settings:
            interactive = matplotlib.is_interactive()
            # As matplotlib does in `rc_context`: checking 300 settings takes long.
            dict.update(matplotlib.rcParams, self._settings)
            with contextlib.suppress(Exception):
                if not _is_inline(matplotlib):
                    pyplot = sys.modules.get("matplotlib.pyplot")
                    (pyplot.switch_backend if pyplot else matplotlib.use)(_INLINE)
        try:
            yield
        finally:
            matplotlib = sys.modules.get("matplotlib")
            if matplotlib is not None and self._settings:
                matplotlib.interactive(interactive)

    def show_those_left(self) -> None:
        """Show figures that the program left open, whichever backend it drew them with."""
        helpers: Any = sys.modules.get("matplotlib._pylab_helpers")
        if helpers is None or not helpers.Gcf.get_all_fig_managers():
            return
        try:
            from matplotlib_inline import backend_inline

            # So far nobody has, when the program asked for another backend.
            backend_inline.configure_inline_support(self._shell, _INLINE)
            backend_inline.show(True)
        except Exception as error:
            text = "A figure could not be drawn: %s: %s\n" % (type(error).__name__, error)
            sys.stderr.write(text)
            helpers.Gcf.destroy_all()


def _is_inline(matplotlib: Any) -> bool:
    return str(matplotlib.get_backend()).lower() in ("inline", _INLINE)


@contextlib.contextmanager
def _backend_in_environment() -> Iterator[None]:
    chosen = os.environ.get("MPLBACKEND")
    if not chosen:
        os.environ["MPLBACKEND"] = _INLINE
    try:
        yield
    finally:
        if not chosen:
            os.environ.pop("MPLBACKEND", None)
