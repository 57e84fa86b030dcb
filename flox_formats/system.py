"""Nix systems that a container can be, and OCI's word for each.

Belongs here: the Linux systems. The darwin ones are plain text wherever a lockfile has them: no container runs there.
"""

from enum import StrEnum

from flox_formats.errors import FormatError


class ArchitectureUnknown(FormatError):
    """An OCI architecture that no Nix system of ours stands for."""


class System(StrEnum):
    X86_64_LINUX = "x86_64-linux"
    AARCH64_LINUX = "aarch64-linux"

    @property
    def oci_architecture(self) -> str:
        return _ARCHITECTURES[self]

    @property
    def oci_platform(self) -> str:
        return f"linux/{self.oci_architecture}"

    @classmethod
    def of_architecture(cls, architecture: str) -> "System":
        """The system of an OCI `architecture` (`amd64`, `arm64`); the `os` is always `linux`."""
        for system, known in _ARCHITECTURES.items():
            if known == architecture:
                return system
        known_ones = ", ".join(sorted(_ARCHITECTURES.values()))
        raise ArchitectureUnknown(f"want an architecture of {known_ones}, got {architecture[:100]!r}")


_ARCHITECTURES = {System.X86_64_LINUX: "amd64", System.AARCH64_LINUX: "arm64"}
