"""From an environment on the node to what a container, or a process that joins it, is given of it.

Belongs here: putting together what the edits want. Does not: the edits (`edits.py`), or what an activation is
(`environment/activation.py`).
"""

from collections.abc import Iterable

from shim_hooks.bundle.edits import OwnStore, Placement
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.bundle.process import Process
from shim_hooks.bundle.process_env import replaced, variables, without_ours
from shim_hooks.bundle.rootfs import Rootfs
from shim_hooks.bundle.spec import Spec
from shim_hooks.environment.activation import REMOVED, Activation, Role, activate
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Realised
from shim_hooks.store.container_stores import MutableStore


def placement(
    spec: Spec, rootfs: Rootfs, realised: Realised, mode: Mode, *, mutable: MutableStore | None, own: OwnStore | None
) -> Placement:
    """Raises Refused for an environment that cannot be activated."""
    activation = _activation(realised, mode, spec.env)
    return Placement(
        generation=PinnedGeneration(realised.environment, realised.generation, realised.lockfile.digest),
        folders=realised.folders.folders,
        variables=activation.variables,
        removed_variables=REMOVED,
        rootfs_has_tmp=rootfs.has_tmp,
        script=activation.script,
        mutable=mutable,
        own=own,
    )


def joined(process: Process, realised: Realised, mode: Mode) -> Process:
    """The process of an exec, in the environment of its container. Raises as `placement` does."""
    activation = _activation(realised, mode, process.env)
    env = replaced(without_ours(process.env), new=activation.variables, removed=REMOVED)
    if activation.script is None or not process.args:
        return process.with_env(env)
    return process.with_env(env).with_args([*activation.script.arguments(Role.JOINS), *process.args])


def _activation(realised: Realised, mode: Mode, inherited: Iterable[str]) -> Activation:
    return activate(
        lockfile=realised.lockfile,
        env_path=realised.env_path,
        environment=realised.environment,
        mode=mode,
        inherited=variables(inherited),
        contents=realised.contents,
        development=realised.development,
    )
