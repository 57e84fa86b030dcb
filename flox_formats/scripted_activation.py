"""Which environments need a shell to be activated, and which store paths hold one.

Belongs here: what both halves must agree on, so that the closure which the registry lists has the shell that the node
looks for. Does not: activating anything, which is the node's.
"""

import re

from flox_formats.lockfile import LockedActivation
from flox_formats.store_path import StorePath
from flox_formats.vars_order import is_plain_value

BASH = "bin/bash"
"""Where a store path of which `is_bash` is true has it."""

_BASH = re.compile(r"bash(-interactive)?-[0-9].*")  # nixpkgs' own names; bash-completion has no digit there
_OTHER_OUTPUTS = ("-debug", "-dev", "-doc", "-info", "-man")


def needs_shell(lockfile: LockedActivation) -> str | None:
    """Why no mode of its activation can be static, as the beginning of a sentence; None when one can.

    Profile scripts do not count: the manifest's belong to interactive shells, and those of packages to `dev`, where the
    lockfile does not tell about them (FH §8.2, §8.4).
    """
    if lockfile.has_hook:
        return "its manifest has a hook.on-activate, which needs a shell"
    for name, value in lockfile.vars.items():
        if not is_plain_value(value):
            return f"the value of {name[:100]} in its [vars] needs a shell to be expanded"
    return None


def is_bash(path: StorePath) -> bool:
    """Whether a store path of this name has a `bin/bash`."""
    return _BASH.fullmatch(path.name) is not None and not path.name.endswith(_OTHER_OUTPUTS)
