"""The demo's packages: `echoip` tells where it runs and in what, `greeting` is what generation 2 has more.

Belongs here: their files. Both are shell scripts on a static busybox, each with its full path in the first line, as Nix
packages have it: they run in a container that has nothing else. Nothing here needs nix.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flox_formats.store_path import StorePath
from flox_formats.system import System
from floxbridge_demo.busybox import static_busybox
from floxbridge_demo.machine import native_system
from floxbridge_demo.nix_cache import NixCache

_ECHOIP = """\
#!{busybox}/bin/sh
# Where is this, and what does it run in?
box={busybox}/bin/busybox
lock=$($box sha256sum "$FLOX_ENV/manifest.lock" 2>/dev/null)
addresses=$($box ip -o addr show scope global up 2>/dev/null | $box awk '{{ sub("/.*", "", $4); print $4 }}')
echo "addresses:   "${{addresses:-127.0.0.1}}
echo "environment: $FLOX_ENV_DESCRIPTION"
echo "lockfile:    sha256:${{lock%% *}}"
echo "commands:    "$($box ls "$FLOX_ENV/bin")
echo "note:        $ECHOIP_NOTE"
"""

_GREETING = """\
#!{busybox}/bin/sh
echo "Hello from ${{FLOX_ENV_DESCRIPTION:-nowhere}}"
"""


@dataclass(frozen=True, slots=True)
class Package:
    """What a lockfile says about a package. `path` is its only output."""

    name: str
    version: str
    description: str
    path: StorePath


@dataclass(frozen=True, slots=True)
class Packages:
    """All in one cache, for one system: there are binaries for no other."""

    system: System
    busybox: Package
    echoip: Package
    greeting: Package

    @classmethod
    def build(cls, cache: NixCache, scratch: Path) -> "Packages":
        """Adds all of them. `scratch` is made, and the caller's to remove. Raises BusyboxMissing, MachineUnknown."""
        busybox = _add_busybox(cache, scratch / "busybox")
        echoip = _add_script(cache, scratch / "echoip", "echoip-1.0", _ECHOIP, busybox)
        greeting = _add_script(cache, scratch / "greeting", "greeting-2.0", _GREETING, busybox)
        return cls(
            native_system(),
            Package("busybox", "static", "Many small programs in one", busybox),
            Package("echoip", "1.0", "Prints its addresses and the environment that it runs in", echoip),
            Package("greeting", "2.0", "Greets from the environment that it runs in", greeting),
        )


def _add_busybox(cache: NixCache, tree: Path) -> StorePath:
    programs = tree / "bin"
    programs.mkdir(parents=True)
    shutil.copyfile(static_busybox(), programs / "busybox")
    (programs / "busybox").chmod(0o755)
    (programs / "sh").symlink_to("busybox")
    return cache.add("busybox-static", tree)


def _add_script(cache: NixCache, tree: Path, name: str, text: str, busybox: StorePath) -> StorePath:
    script = tree / "bin" / tree.name
    script.parent.mkdir(parents=True)
    script.write_text(text.format(busybox=busybox))
    script.chmod(0o755)
    return cache.add(name, tree, [busybox])
