"""Activation: what a process of a container gets to be in its environment, for one command (FH §8).

Belongs here: the variables that Flox sets, and whether a shell has to set more. Does not: the scripts of that shell
(`activation_files.py`), or what lies in an environment (`contents.py`). HOME, USER and the like are none of it.

*Static* where nothing needs a shell: all variables are known here, and nothing stands between the runtime and the
command. *Scripted* otherwise: the command is run by `start.bash`, which becomes it.

Left out of FH §8.3's list, because a container has no use for them or the lockfile does not name them:
- `_FLOX_HOOK_DIFF`, `_flox_activations`, `_activate_d`, `_flox_activate_tracer`, `_flox_activate_tracelevel`: paths and
  undo information for the hooks of an interactive shell, of an interpreter that is not in the container;
- `LOCALE_ARCHIVE`, and `SSL_CERT_FILE` where the environment has no CA bundle: Flox takes both from a nixpkgs of its
  own, which no lockfile names. What the image sets stays;
- in `dev`, `LD_AUDIT` and `GLIBC_TUNABLES`: a library of Flox's own, which no lockfile names either; `PIP_CONFIG_FILE`,
  which belongs to a project, and a container has none; `LD_FLOXLIB_FILES_PATH`, as in Flox's own containers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import LockedActivation
from flox_formats.scripted_activation import needs_shell
from flox_formats.store_path import StorePath
from flox_formats.vars_order import VarsInvalid, ordered_vars
from shim_hooks.environment.activation_files import RECORD, START
from shim_hooks.environment.contents import CA_BUNDLE, PROFILE_SCRIPTS, DevelopmentContents, EnvironmentContents
from shim_hooks.environment.mode import Mode
from shim_hooks.errors import Refused

REMOVED = frozenset({"FLOX_ENV_PROJECT", "FLOX_SHELL"})
"""Unset in a container, whatever the image says."""

_NOT_RECORDED = frozenset({"_", "SHELLOPTS", "PWD", "OLDPWD"})
"""Flox records what an activation exports, and these never (FH §8.2): as a `[vars]` they come to nothing."""


@dataclass(frozen=True, slots=True)
class Activation:
    """`variables` are to be set, the names in `REMOVED` to be unset. `script` runs the command; None needs none."""

    variables: Mapping[str, str]
    script: "ActivationScript | None"


class Role(Enum):
    """Of a process: a container's first one, which activates, or one that joins it (FH §8.2, attaching)."""

    FIRST = "first"
    JOINS = "joins"


@dataclass(frozen=True, slots=True)
class ActivationScript:
    """Absolute paths in the container. `record` is a folder for the scripts, empty and the container's own."""

    bash: str
    start: str
    record: str
    mode: Mode

    def arguments(self, role: Role) -> tuple[str, ...]:
        """What to put before the command. Privileged mode (-p) is bash without the caller's BASH_ENV and functions."""
        return self.bash, "-p", self.start, self.mode.value if role is Role.FIRST else "exec"


def activate(
    *,
    lockfile: LockedActivation,
    env_path: StorePath,
    environment: EnvironmentName,
    mode: Mode,
    inherited: Mapping[str, str],
    contents: EnvironmentContents,
    development: DevelopmentContents | None = None,
) -> Activation:
    """`env_path` is the linked environment, `inherited` what the image and the pod set. `development` goes with `dev`.

    Raises Refused for `[vars]` that cannot be variables, and where there is no shell to run what needs one.
    """
    why = _needs_shell(lockfile, mode, contents)
    variables = {
        **_search_paths(str(env_path), inherited),
        **({} if development is None else _development(str(env_path), inherited, development)),
        **_prompt(inherited),
        **_certificates(str(env_path), inherited, has_ca_bundle=contents.has_ca_bundle),
        **_flox_env(str(env_path), environment),
    }
    if why is None:
        return Activation({**variables, **_vars(lockfile, environment)}, None)
    if contents.bash is None:
        raise Refused(
            f"environment {environment}: {why}, and its closure has no bash: add bash to [install] in its manifest and "
            "push it again, or let the registry add one (--activation-bash)"
        )
    return Activation(variables, ActivationScript(contents.bash, f"{env_path}/{START}", f"{env_path}/{RECORD}", mode))


def _needs_shell(lockfile: LockedActivation, mode: Mode, contents: EnvironmentContents) -> str | None:
    if mode is Mode.DEV and contents.has_profile_scripts:
        return f"its packages have scripts in {PROFILE_SCRIPTS}, which mode {mode} runs in a shell"
    return needs_shell(lockfile)


def _search_paths(env: str, inherited: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": _prepended(f"{env}/bin", inherited.get("PATH", "")),
        "MANPATH": _man_path(f"{env}/share/man", inherited.get("MANPATH", "")),
        "INFOPATH": f"{env}/share/info:{inherited.get('INFOPATH', '')}",
        "XDG_DATA_DIRS": _joined(f"{env}/share", inherited.get("XDG_DATA_DIRS", "")),
    }


def _development(env: str, inherited: Mapping[str, str], contents: DevelopmentContents) -> dict[str, str]:
    """What compilers and interpreters look for."""
    lists = {
        "CPATH": f"{env}/include",
        "LIBRARY_PATH": f"{env}/lib",
        "PKG_CONFIG_PATH": f"{env}/lib/pkgconfig:{env}/share/pkgconfig",
        "ACLOCAL_PATH": f"{env}/share/aclocal",
        "JUPYTER_PATH": f"{env}/share/jupyter" if contents.has_jupyter else None,
        "PYTHONPATH": f"{env}/lib/python{contents.python}/site-packages" if contents.python else None,
        "CMAKE_PREFIX_PATH": env if contents.has_cmake else None,
    }
    places = {"RUST_SRC_PATH": contents.has_rust_source, "JAVA_HOME": contents.has_java}
    return {
        **{name: _joined(first, inherited.get(name, "")) for name, first in lists.items() if first is not None},
        **{name: env for name, there in places.items() if there},
    }


def _prepended(folder: str, old: str) -> str:
    return ":".join(dict.fromkeys([folder, *(old.split(":") if old else [])]))


def _man_path(folder: str, old: str) -> str:
    """An empty part, wherever it stands, means man's own default: one is added unless there is one."""
    path = _joined(folder, old)
    return path if path.startswith(":") or path.endswith(":") or "::" in path else f"{path}:"


def _joined(folder: str, old: str) -> str:
    return f"{folder}:{old}" if old else folder


def _prompt(inherited: Mapping[str, str]) -> dict[str, str]:
    return {
        "FLOX_PROMPT_ENVIRONMENTS": "floxenv",
        "FLOX_PROMPT_COLOR_1": inherited.get("FLOX_PROMPT_COLOR_1") or "99",
        "FLOX_PROMPT_COLOR_2": inherited.get("FLOX_PROMPT_COLOR_2") or "141",
        "_FLOX_ACTIVE_ENVIRONMENTS": "[]",
    }


def _certificates(env: str, inherited: Mapping[str, str], *, has_ca_bundle: bool) -> dict[str, str]:
    bundle = inherited.get("SSL_CERT_FILE") or (f"{env}/{CA_BUNDLE}" if has_ca_bundle else None)
    return {} if bundle is None else {"SSL_CERT_FILE": bundle, "NIX_SSL_CERT_FILE": bundle}


def _flox_env(env: str, environment: EnvironmentName) -> dict[str, str]:
    return {
        "FLOX_ENV": env,
        "FLOX_ENV_CACHE": "/tmp",
        "FLOX_ENV_DESCRIPTION": str(environment),
        "FLOX_ENV_DIRS": env,
        "_FLOX_ENV_DIRS_ADD_SBIN": "empty",
        "FLOX_ACTIVATE_START_SERVICES": "false",
    }


def _vars(lockfile: LockedActivation, environment: EnvironmentName) -> dict[str, str]:
    try:
        ordered = ordered_vars(lockfile.vars)
    except VarsInvalid as problem:
        raise Refused(f"environment {environment}: {problem}") from problem
    return {name: value for name, value in ordered if name not in _NOT_RECORDED}
