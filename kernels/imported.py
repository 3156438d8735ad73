"""Which modules a kernel has imported, also while a run is going on in it."""

from __future__ import annotations

from collections.abc import Collection

from kernels.errors import KernelError
from kernels.guest.imported import REQUEST
from kernels.kernel import Kernel

#: Seconds to wait for the kernel's answer.
PATIENCE = 2.0


async def imported_of(
    kernel: Kernel, modules: Collection[str], patience: float = PATIENCE
) -> frozenset[str]:
    """Those of `modules` that it has imported. No code of the program's is run for it.

    Raises `KernelError` when the kernel cannot tell, or does not within `patience` seconds.
    """
    if not modules:
        return frozenset()
    if not kernel.scripted:
        raise KernelError("Only kernels of Python tell what they have imported.")
    reply = await kernel.ask(REQUEST, {"names": sorted(modules)}, patience)
    found = reply.get("imported") if reply is not None else None
    if not isinstance(found, list):
        raise KernelError(
            f"The kernel did not tell within {patience:g} s what it has imported: it is in a long "
            "call of compiled code that lets nothing else run, or its process is stopped."
        )
    return frozenset(map(str, found)) & frozenset(modules)
