"""The manifest inside a lockfile: what an environment's author asked for.

Belongs here: the sections that decide which outputs are installed, for which systems, how an environment is activated,
and how a container is run. Does not: build commands, or `manifest.toml`, which a built environment never needs.
Source: FH §5.4. Keys that we do not know are ignored, null is the same as absent, any section may be missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from flox_formats.json_document import Fields, shown
from flox_formats.lockfile_errors import LockfileInvalid, LockfileVersionUnsupported

VERSION_1 = "1"
SCHEMA_VERSIONS = ("1.10.0", "1.11.0", "1.12.0", "1.13.0", "1.14.0", "1.15.0")
_PROFILES = ("common", "bash", "zsh", "fish", "tcsh")

OutputsWish = Literal["all"] | tuple[str, ...] | None
"""Which outputs of a package the author wants: all, these, or (None) what its `outputs_to_install` says."""


@dataclass(frozen=True, slots=True)
class InstallDescriptor:
    """One entry of `install`. Exactly one of `pkg_path` (catalog), `flake` and `store_path` is usually set."""

    outputs: OutputsWish
    systems: tuple[str, ...] | None
    pkg_path: str | None
    flake: str | None
    store_path: str | None

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            outputs=_outputs(fields),
            systems=fields.texts("systems") if fields.has("systems") else None,
            pkg_path=fields.text_or_none("pkg-path"),
            flake=fields.text_or_none("flake"),
            store_path=fields.text_or_none("store-path"),
        )

    @property
    def is_custom_catalog(self) -> bool:
        """From somebody's own catalog, `acme/tool`, and so in no public binary cache (FH §5.3)."""
        catalog, slash, _ = (self.pkg_path or "").partition("/")
        return bool(slash) and "." not in catalog


@dataclass(frozen=True, slots=True)
class ContainerizeConfig:
    """`containerize.config`: the same wishes as an OCI image config has (FH §8.7)."""

    user: str | None
    exposed_ports: tuple[str, ...]
    cmd: tuple[str, ...] | None
    volumes: tuple[str, ...]
    working_dir: str | None
    labels: Mapping[str, str] = field(hash=False)
    stop_signal: str | None

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            user=fields.text_or_none("user"),
            exposed_ports=fields.texts("exposed-ports"),
            cmd=fields.texts("cmd") if fields.has("cmd") else None,
            volumes=fields.texts("volumes"),
            working_dir=fields.text_or_none("working-dir"),
            labels=fields.text_members("labels"),
            stop_signal=fields.text_or_none("stop-signal"),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """`version` is `1` or one of `SCHEMA_VERSIONS`. A script that is nothing but white space is none.

    `profile` and `profile_deactivate` are scripts of interactive shells, by `common` or the shell's name.
    """

    version: str
    vars: Mapping[str, str] = field(hash=False)
    hook_on_activate: str | None
    hook_on_deactivate: str | None
    profile: Mapping[str, str] = field(hash=False)
    profile_deactivate: Mapping[str, str] = field(hash=False)
    containerize: ContainerizeConfig
    activate_mode: str | None
    install: Mapping[str, InstallDescriptor] = field(hash=False)
    options_systems: tuple[str, ...] | None
    has_services: bool

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Reads the `manifest` member of a lockfile. Raises LockfileInvalid, LockfileVersionUnsupported."""
        version, options = _version(fields), fields.member("options")
        hook, profile = fields.member("hook"), fields.member("profile")
        return cls(
            version=version,
            vars=fields.text_members("vars"),
            hook_on_activate=_script(hook, "on-activate"),
            hook_on_deactivate=_script(hook, "on-deactivate"),
            profile=_profiles(profile),
            profile_deactivate=_profiles(profile.member("deactivate")),
            containerize=ContainerizeConfig.read(fields.member("containerize").member("config")),
            activate_mode=_mode(options.member("activate")),
            install={name: InstallDescriptor.read(entry) for name, entry in fields.member("install").members()},
            options_systems=options.texts("systems") if options.has("systems") else None,
            has_services=_has_services(fields),
        )

    @property
    def installs_all_outputs(self) -> bool:
        """Version 1 knows no choice of outputs, and installs all of them (FH §6.1)."""
        return self.version == VERSION_1


def _version(fields: Fields) -> str:
    if fields.has("version"):
        number = fields.get("version")
        if type(number) is int and number == 1:
            return VERSION_1
        raise LockfileVersionUnsupported(f"lockfile: manifest version {shown(number)} is not supported, only 1 is")
    version = fields.text_or_none("schema-version")
    if version is None:
        raise LockfileInvalid("lockfile: the manifest has neither 'version' nor 'schema-version'")
    if version not in SCHEMA_VERSIONS:
        raise LockfileVersionUnsupported(
            f"lockfile: manifest schema-version {version[:50]!r} is not supported, only {SCHEMA_VERSIONS[0]} to "
            f"{SCHEMA_VERSIONS[-1]} are; a newer Flox may have written it: update floxbridge"
        )
    return version


def _outputs(fields: Fields) -> OutputsWish:
    match fields.get("outputs"):
        case None:
            return None
        case "all":
            return "all"
        case list():
            return fields.texts("outputs")
    raise fields.refuse("outputs", 'is neither "all" nor a list of output names')


def _script(fields: Fields, key: str) -> str | None:
    text = fields.text_or_none(key)
    return text if text is not None and text.strip() else None


def _profiles(fields: Fields) -> Mapping[str, str]:
    scripts = ((shell, _script(fields, shell)) for shell in _PROFILES)
    return {shell: script for shell, script in scripts if script is not None}


def _mode(fields: Fields) -> str | None:
    mode = fields.text_or_none("mode")
    if mode not in (None, "run", "dev"):
        raise fields.refuse("mode", f"is {str(mode)[:50]!r}, neither 'run' nor 'dev'")
    return mode


def _has_services(fields: Fields) -> bool:
    fields.member("services")  # an object, or this raises
    services = fields.get("services")
    return isinstance(services, dict) and any(name != "auto-start" for name in services)
