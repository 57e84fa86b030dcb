"""`floxbridge resolve REF`: which generation, which digest, since when, from whom."""

import argparse
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2

from flox_formats.environment import EnvironmentRef, EnvironmentRefInvalid
from flox_formats.settings import SettingsInvalid
from flox_formats.settings_command import add_settings
from registry_proxy.explain.from_registry import FromRegistry
from registry_proxy.explain.registry_api import RegistryApi
from registry_proxy.explain.resolved import Resolved, from_tagged
from registry_proxy.floxhub.credential import View
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.images.reference import MOVING, GenerationTag, LiveTag
from registry_proxy.log import Log
from registry_proxy.settings import Settings
from registry_proxy.wiring import NoMetrics, Registry, cluster_token, open_registry

ASKING = ("floxhub_url", "floxhub_git_url", "floxhub_token_file", "lookup_timeout_s", "connect_timeout_s")
"""The settings that a command needs to ask FloxHub."""

_EXAMPLES = """\
examples:
  floxbridge resolve acme/web                    the live generation, asked of FloxHub now
  floxbridge resolve acme/web:12 --json
  floxbridge resolve acme/web --registry-url http://registry:5000    what a pod that starts now would get
"""


def add_resolve_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "resolve",
        help="which generation and digest a reference means now",
        description="Asks FloxHub itself, as the registry would, and keeps nothing; or asks a registry that runs,\n"
        "which may have FloxHub's answer from a while ago.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ref", type=_ref, metavar="REF", help="owner/name (or owner/name:live), or owner/name:N")
    parser.add_argument("--registry-url", metavar="URL", help="ask the registry that runs there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_settings(parser, Settings, ASKING)


async def resolve(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the answer on stdout. Raises RegistryError, FormatError."""
    ref: EnvironmentRef = arguments.ref
    if arguments.registry_url is not None:
        token = (await cluster_token(settings, Log()).current()).token
        with httpx2.Client(timeout=settings.lookup_timeout_s, follow_redirects=True) as http:
            resolved = FromRegistry(RegistryApi(http, arguments.registry_url, token)).resolve(ref)
    else:
        resolved = await _ask_floxhub(ref, settings)
    print(json.dumps(resolved.to_json(), indent=2) if arguments.json else resolved.to_text())
    return 0


@contextlib.asynccontextmanager
async def registry_without_state(settings: Settings) -> AsyncIterator[tuple[Registry, FloxHubUrls]]:
    """A registry for one question. Raises SettingsInvalid, StorageFailed."""
    if settings.hub_dir is not None:
        raise SettingsInvalid(
            "hub_dir is set: its FloxHub is served by the registry alone; ask that with --registry-url URL"
        )
    urls = settings.floxhub_urls(None)
    with tempfile.TemporaryDirectory(prefix="floxbridge-") as state:
        async with open_registry(replace(settings, state_dir=Path(state)), urls, Log(), NoMetrics()) as registry:
            yield registry, urls


async def _ask_floxhub(ref: EnvironmentRef, settings: Settings) -> Resolved:
    tag = GenerationTag(ref.generation) if ref.generation is not None else LiveTag()
    async with registry_without_state(settings) as (registry, urls):
        view = View(ref.environment, await registry.token.current())
        return from_tagged(await registry.environments.tagged(view, tag), urls.base)


def _ref(text: str) -> EnvironmentRef:
    """`:live` and `:latest` are an image's tags, and mean here what they mean there."""
    name, _, tag = text.rpartition(":")
    try:
        return EnvironmentRef.parse(name if tag in MOVING else text)
    except EnvironmentRefInvalid as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
