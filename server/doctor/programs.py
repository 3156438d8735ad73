"""Checks of other programs: the Pythons and kernels of sessions, the tunnel."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from kernels import kernelspecs
from kernels.environments.describing import describe
from kernels.environments.finding import find_all
from kernels.environments.probing import Trouble, probe
from kernels.environments.unfit import install_command
from kernels.errors import KernelspecNotFound
from kernels.launching import kernel_environment
from server import settings as server_settings
from server.doctor.examination import FIRST, NOT_CHECKED, Finding, failure, ok, warning
from server.values import SettingError

#: Names that a line has.
_MOST = 8


def session_python() -> Iterator[Finding]:
    """The one of sessions, if that is not the server's."""
    name = "sessions' Python"
    try:
        settings = server_settings.load()
    except SettingError:
        yield warning(name, NOT_CHECKED, FIRST)
        return
    if os.path.abspath(settings.python) == os.path.abspath(sys.executable):
        yield ok(name, "the server's own")
        return
    environ = kernel_environment()
    environment = describe(settings.python, settings.projects_dir, environ)
    found = probe(settings.python, environ)
    why = f" (by {settings.default.why})" if settings.default and settings.default.why else ""
    if isinstance(found, Trouble):
        yield failure(name, found.sentence, f"Repair it, or choose another{why}.")
    elif not found.ipykernel:
        remedy = f"Install it with: {install_command(environment)}"
        yield failure(name, f"{environment.name}{why} has no ipykernel", remedy)
    else:
        words = f"{environment.title}{why}, ipykernel {found.ipykernel}"
        yield ok(name, words)


def environments() -> Iterator[Finding]:
    """Where sessions can run. That one without ipykernel cannot is no trouble, but a kernelspec of
    no use is."""
    name, environ = "environments", kernel_environment()
    try:
        projects = server_settings.load().projects_dir
    except SettingError:
        yield warning(name, NOT_CHECKED, FIRST)
        return
    found = find_all(projects, environ)
    usable = [one.name for one in found if one.runs_kernels]
    words = f"sessions can run in {len(usable)} of {len(found)}: {_some(usable)}"
    broken = dict(_broken_kernelspecs())
    if broken:
        first, why = next(iter(broken.items()))
        words += f"; kernelspecs of no use: {_some(list(broken))}"
        yield warning(name, words, f"Repair or remove them; {first}: {why}")
    else:
        yield ok(name, words)


def _broken_kernelspecs() -> Iterator[tuple[str, str]]:
    """Names, and why."""
    from jupyter_client.kernelspec import KernelSpecManager

    for name in sorted(KernelSpecManager().find_kernel_specs()):
        try:
            spec = kernelspecs.find(name)
        except KernelspecNotFound as error:
            yield name, str(error)
        else:
            if shutil.which(spec.argv[0]) is None:
                yield name, f"its program {spec.argv[0]} is not there"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def isolation() -> Iterator[Finding]:
    """What holds code in kernels back."""
    words = "none: code in a kernel can do anything that your account can"
    yield warning("isolation", words, "Connect only clients that you trust with your account.")


def tunnel() -> Iterator[Finding]:
    """The agent of ngrok."""
    if found := shutil.which("ngrok"):
        yield ok("tunnel", f"ngrok at {found}")
    elif find_spec("pyngrok") is not None:
        yield ok("tunnel", "pyngrok gets the agent when --tunnel is used")
    else:
        yield ok("tunnel", "ngrok is not installed; nothing but --tunnel needs it")
