"""The lockfiles of public repositories that lie beside the project, where they do (shared/data/lockfiles)."""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "lockfiles"
REAL_LOCKFILES: list[Path] = sorted(_FOLDER.glob("*.lock"))
