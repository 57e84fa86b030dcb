"""`floxbridge explain`: from a digest or an image back to environment, generation, packages and what changed.

Belongs here: the command, and which source is asked. What each knows is in `explain/`.
"""

import argparse
import json

import httpx2

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.settings import SettingsInvalid
from flox_formats.settings_command import add_settings
from registry_proxy.explain.asked_image import AskedImage, AskedImageInvalid
from registry_proxy.explain.evidence import Evidence, NotExplained
from registry_proxy.explain.explanation import Explanation
from registry_proxy.explain.from_floxhub import FromFloxHub
from registry_proxy.explain.from_registry import FromRegistry
from registry_proxy.explain.from_state import FromState
from registry_proxy.explain.registry_api import RegistryApi
from registry_proxy.log import Log
from registry_proxy.repositories.empty import EmptyImages
from registry_proxy.resolve_cli import ASKING, registry_without_state
from registry_proxy.settings import Settings
from registry_proxy.wiring import cluster_token

_ABOUT = """\
Says which environment and generation an image or a digest stands for, who made it, what is in it, and what changed
against the generation that was live before.

FloxHub is asked, unless --registry-url names a registry that runs or --state-dir the folder where one keeps its state.
A digest alone says nothing about where it belongs: name the environment, or let the state of a registry be searched.
"""
_EXAMPLES = """\
examples:
  floxbridge explain acme/web                              the live generation
  floxbridge explain acme/web:12
  floxbridge explain docker.io/flox/empty/acme/web@sha256:...   an imageID of `kubectl get pod -o yaml`
  floxbridge explain sha256:... --environment acme/web
  floxbridge explain sha256:... --state-dir /var/lib/floxbridge-registry
  floxbridge explain acme/web:live --registry-url http://registry:5000 --json
"""
_EMPTY = (
    "flox/empty is the image without an environment, whatever its tag: the pod's annotation flox.dev/environment names "
    "the environment that its containers run in"
)


def add_explain_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "explain",
        help="which environment, generation and packages an image or a digest stands for",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "image", type=_image, metavar="IMAGE|DIGEST", help="as in a pod, as in its status, or owner/name"
    )
    parser.add_argument("--environment", type=_environment, metavar="OWNER/NAME", help="where a digest alone belongs")
    parser.add_argument("--registry-url", metavar="URL", help="ask the registry that runs there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_settings(parser, Settings, ("state_dir", *ASKING))


async def explain(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the explanation on stdout. Raises NotExplained and other RegistryErrors, FormatError."""
    asked = _asked(arguments)
    if asked.is_empty:
        _require_generic(asked)
        facts = {"asked": str(asked), "what": "image without an environment", "environment": None, "generation": None}
        print(json.dumps({**facts, "missing": [_EMPTY]}, indent=2) if arguments.json else _EMPTY)
        return 0
    explanation = Explanation(asked, await _evidence(asked, arguments, settings))
    print(json.dumps(explanation.to_json(), indent=2) if arguments.json else explanation.to_text())
    return 0


def _asked(arguments: argparse.Namespace) -> AskedImage:
    """Raises SettingsInvalid for arguments that contradict each other."""
    asked: AskedImage = arguments.image
    if arguments.registry_url is not None and arguments.state_dir is not None:
        raise SettingsInvalid("--registry-url asks a registry, --state-dir reads one's state: give one of them")
    environment: EnvironmentName | None = arguments.environment
    if environment is None or environment == asked.environment:
        return asked
    if asked.environment is not None or asked.is_empty:
        raise SettingsInvalid(f"--environment {environment} is for a digest alone, and {asked} is more than that")
    return asked.of(environment)


def _require_generic(asked: AskedImage) -> None:
    """Raises NotExplained for a digest that is not of the generic image."""
    if asked.digest is not None and not EmptyImages().has(asked.digest):
        raise NotExplained(f"flox/empty has no {asked.digest}: it has one image, and no environment's")


async def _evidence(asked: AskedImage, arguments: argparse.Namespace, settings: Settings) -> Evidence:
    if arguments.registry_url is not None:
        _require_environment(asked, "a registry has no question that begins with a digest")
        token = (await cluster_token(settings, Log()).current()).token
        with httpx2.Client(timeout=settings.lookup_timeout_s, follow_redirects=True) as http:
            return FromRegistry(RegistryApi(http, arguments.registry_url, token)).explain(asked)
    if arguments.state_dir is not None:
        return FromState(settings.state_dir).explain(asked)
    if asked.environment is None and settings.state_dir.is_dir():
        return FromState(settings.state_dir).explain(asked)
    _require_environment(asked, f"and no registry keeps its state in {settings.state_dir}, where it could be looked up")
    async with registry_without_state(settings) as (registry, urls):
        return await FromFloxHub(registry.environments, await registry.token.current(), urls.base).explain(asked)


def _require_environment(asked: AskedImage, why: str) -> None:
    if asked.environment is None:
        raise NotExplained(
            f"{asked} alone does not say which environment it belongs to, {why}: give the whole imageID "
            "(flox/empty/owner/name@sha256:…), or --environment owner/name, or --state-dir DIR of a registry"
        )


def _image(text: str) -> AskedImage:
    try:
        return AskedImage.parse(text)
    except AskedImageInvalid as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _environment(text: str) -> EnvironmentName:
    try:
        return EnvironmentName.parse(text)
    except EnvironmentRefInvalid as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
