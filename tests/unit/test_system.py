import pytest

from flox_formats.system import ArchitectureUnknown, System


@pytest.mark.parametrize(("system", "architecture"), [("x86_64-linux", "amd64"), ("aarch64-linux", "arm64")])
def test_both_words_for_one_machine(system: str, architecture: str) -> None:
    assert System(system).oci_architecture == architecture
    assert System.of_architecture(architecture) == system


@pytest.mark.parametrize("architecture", ["", "arm", "AMD64", "x86_64-linux", "riscv64"])
def test_refuses_other_architectures(architecture: str) -> None:
    with pytest.raises(ArchitectureUnknown, match=r"amd64, arm64"):
        System.of_architecture(architecture)
