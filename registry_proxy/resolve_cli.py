"""`floxbridge resolve REF`: which generation, which digest, since when, from whom."""

import argparse
import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flox_formats.environment import EnvironmentRef
from flox_formats.settings_command import add_settings
from registry_proxy.floxhub.credential import View
from registry_proxy.images.reference import PREFIX, GenerationTag, LiveTag
from registry_proxy.log import Log
from registry_proxy.repositories.environments import TaggedImage
from registry_proxy.settings import Settings
from registry_proxy.wiring import NoMetrics, floxhub_urls, open_registry

_SETTINGS = ("floxhub_url", "floxhub_git_url", "floxhub_token_file", "lookup_timeout_s", "connect_timeout_s")


def add_resolve_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "resolve",
        help="which generation and digest a reference means now",
        description="Asks FloxHub itself, as the registry would, and keeps nothing.",
    )
    parser.add_argument("ref", metavar="REF", help="owner/name for the live generation, or owner/name:N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_settings(parser, Settings, _SETTINGS)


async def resolve(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the answer on stdout. Raises RegistryError, FormatError."""
    ref = EnvironmentRef.parse(arguments.ref)
    tag = GenerationTag(ref.generation) if ref.generation is not None else LiveTag()
    with tempfile.TemporaryDirectory(prefix="floxbridge-resolve-") as state:
        asked = replace(settings, state_dir=Path(state))
        async with open_registry(asked, floxhub_urls(asked, None), Log(), NoMetrics()) as registry:
            facts = _facts(
                await registry.environments.tagged(View(ref.environment, await registry.token.current()), tag)
            )
    print(json.dumps(facts, indent=2) if arguments.json else _text(facts))
    return 0


def _facts(tagged: TaggedImage) -> dict[str, object]:
    image, snapshot = tagged.image, tagged.resolution.snapshot
    number = image.generation.number
    return {
        "environment": str(image.environment),
        "generation": number,
        "live": snapshot.generations.live == number,
        "created": _time(image.generation.created),
        "author": _author(tagged),
        "digest": str(image.index.digest),
        "image": f"{PREFIX}/{image.environment}@{image.index.digest}",
        "lockfile": str(image.lockfile.digest),
        "platforms": {f"linux/{system.oci_architecture}": str(m.digest) for system, m in image.manifests.items()},
        "source": image.page,
        "commit": snapshot.commit,
    }


def _author(tagged: TaggedImage) -> str | None:
    """Who made the generation: the first entry of the history that says so."""
    number = tagged.image.generation.number
    entries = tagged.resolution.snapshot.generations.history
    return next((entry.author for entry in entries if entry.current_generation == number), None)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(facts: dict[str, object]) -> str:
    lines = [f"{facts['environment']} generation {facts['generation']}{' (live)' if facts['live'] else ''}"]
    lines += [f"  {key:<10} {facts[key]}" for key in ("created", "author", "image", "lockfile", "source")]
    return "\n".join(lines)
