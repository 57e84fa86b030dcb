"""Who may import whom (design, section 3), read from the source of every module that is shipped."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
PACKAGES = ("flox_formats", "registry_proxy", "shim_hooks", "floxbridge_demo")


@dataclass(frozen=True)
class Arrow:
    """Modules in `room`, all but those in `doors`, import nothing in `never`, or nothing but what is in `only`.

    Every name stands for a module and all below it.
    """

    name: str
    room: str
    doors: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def allows(self, module: str, imported: str) -> bool:
        if not within(module, self.room) or any(within(module, door) for door in self.doors):
            return True
        if self.only:
            return any(within(imported, allowed) for allowed in self.only)
        return not any(within(imported, forbidden) for forbidden in self.never)


SIGNATURE = "flox_formats.signature"
STANDARD_LIBRARY = tuple(sys.stdlib_module_names)
COMMAND_LINE = tuple(
    f"registry_proxy.{name}" for name in ("cli", "explain_cli", "resolve_cli", "server", "settings_cli", "wiring")
)
WIRING = ("registry_proxy.app", *COMMAND_LINE)
ARROWS = [
    Arrow("formats-need-nothing", "flox_formats", doors=(SIGNATURE,), only=(*STANDARD_LIBRARY, "flox_formats")),
    Arrow("signatures-need-one-library", SIGNATURE, only=(*STANDARD_LIBRARY, "flox_formats", "cryptography")),
    Arrow("registry-does-not-know-the-node", "registry_proxy", never=("shim_hooks",)),
    Arrow("node-does-not-know-the-registry", "shim_hooks", never=("registry_proxy",)),
    Arrow("demo-is-a-user-like-any-other", "floxbridge_demo", never=("registry_proxy", "shim_hooks")),
    Arrow("only-the-command-line-knows-the-demo", "registry_proxy", doors=WIRING, never=("floxbridge_demo",)),
    Arrow("node-does-not-know-the-demo", "shim_hooks", never=("floxbridge_demo",)),
    Arrow(
        "domain-does-not-know-its-endpoints",
        "registry_proxy",
        doors=(*WIRING, "registry_proxy.endpoints"),
        never=("registry_proxy.endpoints", *WIRING),
    ),
    Arrow("endpoints-do-not-wire", "registry_proxy.endpoints", never=WIRING),
    Arrow("app-does-not-know-the-command-line", "registry_proxy.app", never=COMMAND_LINE),
    Arrow(
        "node-does-not-know-its-command-line",
        "shim_hooks",
        doors=("shim_hooks.cli", "shim_hooks.__main__"),
        never=("shim_hooks.cli",),
    ),
    *(Arrow(f"{package}-runs-without-tests", package, never=("tests", "bench")) for package in PACKAGES),
]


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def imports(source: str) -> Iterator[str]:
    """Every name that `source` imports, also inside functions; `from a import b` gives a and what may be a.b."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                assert node.level == 0, "relative imports are banned by ruff"
                assert node.module is not None
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken(module: str, source: str) -> list[str]:
    imported = sorted(set(imports(source)))
    return [
        f"{module} imports {name}: {arrow.name}"
        for arrow in ARROWS
        for name in imported
        if not arrow.allows(module, name)
    ]


def modules() -> dict[str, Path]:
    """Every module of the packages that are shipped."""
    files = [file for package in PACKAGES for file in sorted((HOUSE / package).rglob("*.py"))]
    return {".".join(file.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@pytest.mark.parametrize("module", modules())
def test_arrows_point_one_way(module: str) -> None:
    assert broken(module, modules()[module].read_text()) == []


def test_every_package_is_looked_at() -> None:
    assert {module.partition(".")[0] for module in modules()} == set(PACKAGES)
    assert {"flox_formats", "flox_formats.nar", "registry_proxy.endpoints", "shim_hooks.errors"} <= set(modules())


@pytest.mark.parametrize(
    ("module", "source", "arrow"),
    [
        pytest.param("flox_formats.nar", "import anyio", "formats-need-nothing", id="library"),
        pytest.param("flox_formats.nar", "import cryptography", "formats-need-nothing", id="library-of-another"),
        pytest.param("flox_formats", "import registry_proxy.nix", "formats-need-nothing", id="format-needs-registry"),
        pytest.param("flox_formats.new", "import floxbridge_demo", "formats-need-nothing", id="format-needs-demo"),
        pytest.param(SIGNATURE, "import httpx2", "signatures-need-one-library", id="another-library"),
        pytest.param("registry_proxy.app", "import shim_hooks", "registry-does-not-know-the-node", id="node"),
        pytest.param(
            "registry_proxy.nix.cache",
            "def late():\n    from shim_hooks.store import node_store",
            "registry-does-not-know-the-node",
            id="inside-a-function",
        ),
        pytest.param(
            "shim_hooks.cli", "from registry_proxy import cli", "node-does-not-know-the-registry", id="registry"
        ),
        pytest.param(
            "floxbridge_demo.play", "from shim_hooks import agent", "demo-is-a-user-like-any-other", id="demo-node"
        ),
        pytest.param(
            "floxbridge_demo", "import registry_proxy.app", "demo-is-a-user-like-any-other", id="demo-registry"
        ),
        pytest.param(
            "registry_proxy.nix", "import floxbridge_demo", "only-the-command-line-knows-the-demo", id="needs-demo"
        ),
        pytest.param(
            "registry_proxy.images.new",
            "from registry_proxy.endpoints.blobs import get_blob",
            "domain-does-not-know-its-endpoints",
            id="endpoint",
        ),
        pytest.param(
            "registry_proxy.content.store",
            "from registry_proxy import app",
            "domain-does-not-know-its-endpoints",
            id="app-as-a-name",
        ),
        pytest.param(
            "registry_proxy.endpoints.blobs", "import registry_proxy.app", "endpoints-do-not-wire", id="wiring"
        ),
        pytest.param(
            "registry_proxy.app", "import registry_proxy.cli", "app-does-not-know-the-command-line", id="app-needs-cli"
        ),
        pytest.param(
            "shim_hooks.agent", "from shim_hooks.cli import main", "node-does-not-know-its-command-line", id="node-cli"
        ),
        pytest.param("shim_hooks.agent", "import tests.conftest", "shim_hooks-runs-without-tests", id="tests"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, arrow: str) -> None:
    assert [problem.rpartition(": ")[2] for problem in broken(module, source)][:1] == [arrow]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("flox_formats.nar", "import os.path\nfrom flox_formats.digest import Digest", id="format"),
        pytest.param("registry_proxy.cli", "import registry_proxy.app, floxbridge_demo", id="command-line"),
        pytest.param("registry_proxy.app", "from registry_proxy.endpoints import blobs", id="app"),
        pytest.param("registry_proxy.endpoints.blobs", "from registry_proxy.content.store import Store", id="endpoint"),
        pytest.param("registry_proxy.nix.cache", "import registry_proxy.application", id="a-name-that-begins-alike"),
        pytest.param("shim_hooks.agent", "import anyio\nfrom flox_formats import nar", id="node"),
        pytest.param("floxbridge_demo.cri", "import grpc\nfrom flox_formats import nar", id="demo"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    assert broken(module, source) == []
