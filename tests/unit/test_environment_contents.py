"""What lies in a linked environment that decides about its activation."""

from collections.abc import Mapping

import pytest

from flox_formats.store_path import StorePath
from shim_hooks.environment.contents import DevelopmentContents, EnvironmentContents
from tests.unit.memory_tree import Link, MemoryTree, Node

ENV = StorePath("0" * 32, "environment-web")
BASH = StorePath("1" * 32, "bash-5.2p37")
OTHER_BASH = StorePath("2" * 32, "bash-interactive-5.3p3")
PYTHON = StorePath("3" * 32, "python3-3.12.4")
CLOSURE = (PYTHON, OTHER_BASH, BASH, ENV)


def store(environment: Mapping[str, Node]) -> MemoryTree:
    return MemoryTree(
        {
            ENV.base_name: environment,
            BASH.base_name: {"bin": {"bash": "elf"}},
            OTHER_BASH.base_name: {"bin": {"bash": "elf"}},
            PYTHON.base_name: {"bin": {"python3": Link("python3.12"), "python3.12": "elf"}},
        }
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, EnvironmentContents(bash=f"{BASH}/bin/bash"), id="nothing"),
        pytest.param(
            {"bin": Link(f"{OTHER_BASH}/bin")}, EnvironmentContents(bash=f"{OTHER_BASH}/bin/bash"), id="installed-bash"
        ),
        pytest.param(
            {"etc": {"profile.d": {"a.sh": "x"}, "ssl": {"certs": {"ca-bundle.crt": "PEM"}}}},
            EnvironmentContents(True, True, f"{BASH}/bin/bash"),
            id="certificates-and-profiles",
        ),
        pytest.param(
            {"etc": {"profile.d": {"a.csh": "x", ".b.sh": "x"}}},
            EnvironmentContents(bash=f"{BASH}/bin/bash"),
            id="profiles-of-others",
        ),
        pytest.param({"etc": {"profile.d": "x"}}, EnvironmentContents(bash=f"{BASH}/bin/bash"), id="no-folder"),
    ],
)
def test_contents(environment: dict[str, Node], expected: EnvironmentContents) -> None:
    assert EnvironmentContents.look(store(environment), ENV, CLOSURE) == expected


def test_no_bash() -> None:
    assert EnvironmentContents.look(store({}), ENV, (ENV, PYTHON)).bash is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, DevelopmentContents(), id="nothing"),
        pytest.param({"bin": Link(f"{PYTHON}/bin")}, DevelopmentContents(python="3.12"), id="python"),
        pytest.param({"bin": {"python3": "#!/bin/sh"}}, DevelopmentContents(), id="python-of-no-version"),
        pytest.param(
            {"bin": {"python3": "wrapper"}, "lib": {"python3.11": {}, "python3": {}, "libpython3.so": ""}},
            DevelopmentContents(python="3.11"),
            id="wrapped-python",
        ),
        pytest.param(
            {"bin": {"python3": "wrapper"}, "lib": {"python3.11": {}, "python3.12": {}}},
            DevelopmentContents(),
            id="wrapped-python-of-two-versions",
        ),
        pytest.param({"lib": {"python3.11": {}}}, DevelopmentContents(), id="packages-without-a-python"),
        pytest.param(
            {
                "rustc-std-workspace-std": {},
                "share": {"jupyter": {}},
                "bin": {"java": "elf", "cmake": "elf", "python3": Link("/nowhere")},
            },
            DevelopmentContents(True, True, True, True, None),
            id="everything-else",
        ),
        pytest.param({"share": {"jupyter": "file"}, "bin": {"java": {}}}, DevelopmentContents(), id="wrong-kinds"),
    ],
)
def test_development(environment: dict[str, Node], expected: DevelopmentContents) -> None:
    assert DevelopmentContents.look(store(environment), ENV) == expected
