"""Static activation: the variables of an environment, computed without a shell (design 8.3).

Belongs here: which environments need no shell, and what Flox sets for one command in a container in `run` mode.
Source: FH §8.3, its order of precedence included. HOME, USER and the like are none of an activation's business.

Left out of FH §8.3's list, because a container has no use for them or the lockfile does not name them:
- everything marked `dev`, which is the other mode;
- `_FLOX_HOOK_DIFF`, `_flox_activations`, `_activate_d`, `_flox_activate_tracer`, `_flox_activate_tracelevel`: paths and
  undo information for the hooks of an interactive shell, of an interpreter that is not in the container;
- `LOCALE_ARCHIVE`, and `SSL_CERT_FILE` where the environment has no CA bundle: Flox takes both from a nixpkgs of its
  own, which no lockfile names. What the image sets stays.
"""

from collections.abc import Mapping

from flox_formats.environment import EnvironmentName
from flox_formats.lockfile import Lockfile
from flox_formats.store_path import StorePath
from flox_formats.vars_order import VarsInvalid, ordered_vars
from shim_hooks.errors import Refused

CA_BUNDLE = "etc/ssl/certs/ca-bundle.crt"
"""Where nixpkgs' cacert has it, below the environment."""

REMOVED = frozenset({"FLOX_ENV_PROJECT", "FLOX_SHELL"})
"""Unset in a container, whatever the image says."""

_NOT_RECORDED = frozenset({"_", "SHELLOPTS", "PWD", "OLDPWD"})
"""Flox records what an activation exports, and these never (FH §8.2): as a `[vars]` they come to nothing."""


def static_variables(
    *,
    lockfile: Lockfile,
    env_path: StorePath,
    environment: EnvironmentName,
    inherited: Mapping[str, str],
    has_ca_bundle: bool,
) -> dict[str, str]:
    """What to set; the names in `REMOVED` are to be unset. Only for a lockfile of which `needs_shell` says None.

    `env_path` is the linked environment, `inherited` what the image and the pod set. Raises Refused for `[vars]` that
    cannot be variables.
    """
    return {
        **_search_paths(str(env_path), inherited),
        **_prompt(inherited),
        **_certificates(str(env_path), inherited, has_ca_bundle=has_ca_bundle),
        **_flox_env(str(env_path), environment),
        **_vars(lockfile, environment),
    }


def _search_paths(env: str, inherited: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": _prepended(f"{env}/bin", inherited.get("PATH", "")),
        "MANPATH": _man_path(f"{env}/share/man", inherited.get("MANPATH", "")),
        "INFOPATH": f"{env}/share/info:{inherited.get('INFOPATH', '')}",
        "XDG_DATA_DIRS": _joined(f"{env}/share", inherited.get("XDG_DATA_DIRS", "")),
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


def _vars(lockfile: Lockfile, environment: EnvironmentName) -> dict[str, str]:
    try:
        ordered = ordered_vars(lockfile.manifest.vars)
    except VarsInvalid as problem:
        raise Refused(f"environment {environment}: {problem}") from problem
    return {name: value for name, value in ordered if name not in _NOT_RECORDED}
