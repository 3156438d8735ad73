"""The kernels that are installed on this machine, of any language: Jupyter's kernelspecs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Any, Literal

from kernels import jupyter
from kernels.errors import KernelspecNotFound

if TYPE_CHECKING:
    # Imported with the first question: it brings half of Jupyter.
    from jupyter_client.kernelspec import KernelSpecManager

CONNECTION_FILE = "{connection_file}"
#: The name that Jupyter gives to the kernel of its own Python.
_USUAL = "python3"
_PYTHONS = {"python", "python3", f"python3.{sys.version_info.minor}"}


@dataclass(frozen=True)
class Kernelspec:
    """An installed kernel.

    `argv`: its command, complete but for `{connection_file}`. `env`: added to the environment that
    it gets; `${NAME}` in it stands for that environment's own. `interrupt_mode`: whether SIGINT
    interrupts it or an `interrupt_request`. `directory`: where it is to be started; "": where all
    others are. `without`: variables that it does not get.
    """

    name: str
    display_name: str
    language: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    interrupt_mode: Literal["signal", "message"]
    directory: str = ""
    without: frozenset[str] = frozenset()

    def is_as(self, other: Kernelspec | None) -> bool:
        """Whether kernels of the other one are of the same kind, however their variables are."""
        if other is None:
            return False
        ours = self.name, self.argv, self.directory
        return ours == (other.name, other.argv, other.directory)

    def command(self, connection_file: str) -> list[str]:
        """Its command for this connection file."""
        return [word.replace(CONNECTION_FILE, connection_file) for word in self.argv]

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """The environment that it gets where others get `own`."""
        added = {name: Template(text).safe_substitute(own) for name, text in self.env.items()}
        whole = {name: text for name, text in own.items() if name not in self.without} | added
        if self.language.lower().startswith("python"):
            # It would make another Python believe that it is this one.
            whole.pop("PYTHONEXECUTABLE", None)
        return whole

    @property
    def ipykernel(self) -> tuple[list[str], list[str]] | None:
        """The interpreter with its options, and the arguments for the kernel, if it is an
        ordinary ipykernel; None for any other kernel."""
        for place, word in enumerate(self.argv[1:], 1):
            if word == "-m":
                module, *arguments = self.argv[place + 1 :] or ("",)
                # With a class of its own it is somebody else's kernel.
                ordinary = not any("kernel_class" in argument for argument in arguments)
                if module in ("ipykernel_launcher", "ipykernel") and ordinary:
                    return list(self.argv[:place]), arguments
                return None
            option_value = self.argv[place - 1] in ("-X", "-W")
            if word == "-c" or not (word.startswith("-") or option_value):
                return None
        return None

    @property
    def is_usual(self) -> bool:
        """Whether it means no particular Python: it is the `python3` of this program's own
        environment, which nearly every notebook of Python names."""
        if self.name != _USUAL or self.ipykernel is None:
            return False
        # A venv's python is often a link to the one that other environments link to, too.
        here, own = os.path.normcase(self.argv[0]), os.path.normcase(_own_python())
        same_folder = os.path.dirname(here) == os.path.dirname(own)
        return same_folder and os.path.realpath(here) == os.path.realpath(own)

    @property
    def is_default(self) -> bool:
        """Whether it asks for nothing but that: no options, no environment."""
        if not self.is_usual or self.ipykernel is None or self.env:
            return False
        (_, *options), arguments = self.ipykernel
        # An option for debuggers alone, which ipykernel's own installation adds.
        plain = set(options) <= {"-Xfrozen_modules=off"}
        return plain and arguments == ["-f", CONNECTION_FILE]


def find(name: str) -> Kernelspec:
    """The kernel of that name, in whatever case. Raises `KernelspecNotFound` when there is none or
    its kernelspec is of no use. Reads the disk: call it in a thread."""
    manager = _manager()
    directory = manager.find_kernel_specs().get(name.lower())
    if directory is None:
        raise KernelspecNotFound(
            f"No kernel named {name[:100]!r} is installed on this machine{_others(manager)}"
        )
    try:
        return _read(manager, name.lower())
    except _Unusable as error:
        file = os.path.join(directory, "kernel.json")
        raise KernelspecNotFound(
            f"The kernel {name[:100]!r} cannot be used: {file} {error}{_others(manager)}"
        ) from None


def is_there(name: str) -> bool:
    """Whether one of that name is installed, of use or not. Reads the disk, as `find` does."""
    return name.lower() in _manager().find_kernel_specs()


def installed() -> list[Kernelspec]:
    """All that can be used, in the order of their names. Reads the disk: call it in a thread."""
    return _installed(_manager())


class _Unusable(Exception):
    """What is wrong with a kernel.json, as the end of a sentence."""


def _manager() -> KernelSpecManager:
    jupyter.load()
    from jupyter_client.kernelspec import KernelSpecManager

    manager = KernelSpecManager()
    # One directory that may not be read would hide all the others.
    manager.kernel_dirs = [path for path in manager.kernel_dirs if _is_readable(path)]
    return manager


def _is_readable(directory: str) -> bool:
    try:
        os.listdir(directory)
    except OSError:
        return False
    return True


def _installed(manager: KernelSpecManager) -> list[Kernelspec]:
    found = []
    for name in sorted(manager.find_kernel_specs()):
        with contextlib.suppress(_Unusable):
            found.append(_read(manager, name))
    return found


def _others(manager: KernelSpecManager) -> str:
    """The end of a sentence that names what there is."""
    names = ", ".join(spec.name for spec in _installed(manager))
    if not names:
        return ". No other is installed either."
    return f". Install it, or choose one of those that are there: {names}."


def _read(manager: KernelSpecManager, name: str) -> Kernelspec:
    from jupyter_client.kernelspec import NoSuchKernel
    from traitlets import TraitError

    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel:
        raise _Unusable("asks for a kernel provisioner that is not installed") from None
    except OSError as error:
        raise _Unusable(f"cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, TraitError, RecursionError) as error:
        raise _Unusable(f"is not a valid kernelspec ({_one_line(error)})") from None
    argv, env = list(spec.argv), dict(spec.env)
    if not argv or not all(isinstance(word, str) for word in argv):
        raise _Unusable("has no command (argv)")
    if not any(CONNECTION_FILE in word for word in argv):
        raise _Unusable(f"has a command (argv) without {CONNECTION_FILE}")
    if not all(isinstance(text, str) for text in env.values()):
        raise _Unusable("has values in env that are not text")
    if _is_started_elsewhere(spec.metadata):
        raise _Unusable("describes a kernel that is not started on this machine")
    known = {"prefix": sys.prefix, "resource_dir": spec.resource_dir}
    return Kernelspec(
        name=name,
        display_name=spec.display_name or name,
        language=spec.language,
        argv=(_program(argv[0], known), *(_filled(word, known) for word in argv[1:])),
        env=env,
        interrupt_mode="message" if spec.interrupt_mode == "message" else "signal",
    )


def _is_started_elsewhere(metadata: Mapping[str, Any]) -> bool:
    provisioner = metadata.get("kernel_provisioner")
    if not isinstance(provisioner, Mapping):
        return False
    return provisioner.get("provisioner_name") not in (None, "local-provisioner")


def _program(word: str, known: Mapping[str, str]) -> str:
    """As Jupyter does: a mere `python` is this program's own, whatever is on the PATH."""
    return _own_python() if word in _PYTHONS else _filled(word, known)


def _filled(word: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), word)


def _own_python() -> str:
    return os.path.abspath(sys.executable)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
