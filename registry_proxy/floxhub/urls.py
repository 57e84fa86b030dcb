"""From FloxHub's base URL to the URLs of its parts.

Rules and their sources: FH §1.1 (hosted form and on-prem form), §1.2 (one repository per owner).
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, quote, urlsplit

from flox_formats.environment import EnvironmentName
from flox_formats.url import HttpUrl

DEFAULT_BASE_URL = "https://hub.flox.dev"


@dataclass(frozen=True, slots=True)
class FloxHubUrls:
    """`base` names the hub in images, for ever; `git` is where it is asked. Neither ends in a slash."""

    base: str
    git: str

    @classmethod
    def parse(cls, base_url: str, git_url: str | None = None) -> Self:
        """`git_url`, when given, replaces the derived one verbatim, as flox's own override does.

        Raises SettingsInvalid.
        """
        base = _parts(base_url)
        return cls(base_url.rstrip("/"), git_url.rstrip("/") if git_url and _parts(git_url) else _git_url(base))

    def repository(self, owner: str) -> str:
        return f"{self.git}/{quote(owner, safe='')}/floxmeta"

    def page(self, environment: EnvironmentName) -> str:
        """The web page of an environment."""
        return f"{self.base}/{quote(environment.owner, safe='')}/{quote(environment.name, safe='')}"


def _parts(url: str) -> SplitResult:
    return urlsplit(HttpUrl.parse_bare(url, instead="tokens go in a file, see --floxhub-token-file").place)


def _git_url(base: SplitResult) -> str:
    labels = (base.hostname or "").split(".")
    hosted = labels[0] == "hub" and labels[-2:] == ["flox", "dev"]
    if not hosted:
        return f"{base.scheme}://{base.netloc}{base.path.removesuffix('/')}/git"
    host = ".".join(["api", *labels[1:]])
    port = f":{base.port}" if base.port else ""
    return f"{base.scheme}://{host}{port}/git"
