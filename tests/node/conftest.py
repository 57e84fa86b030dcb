"""Pods on real containerds."""

from tests.containerds import containerd_binaries, parent, workplace

__all__ = ["containerd_binaries", "parent", "workplace"]
