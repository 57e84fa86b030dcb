"""Which part gets which: settings are taken apart here, clients are opened here, and nowhere else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
import anyio.to_thread
import httpx2
from starlette.types import ASGIApp

from flox_formats.errors import FormatError
from flox_formats.settings import SettingsInvalid
from flox_formats.signature import PublicKey, TrustedKeys
from registry_proxy.app import Parts
from registry_proxy.content.downloads import Downloads
from registry_proxy.content.holdings import Holdings
from registry_proxy.content.store import ContentStore
from registry_proxy.endpoints.callers import Callers
from registry_proxy.floxhub.asking import Asking, AskingMetrics
from registry_proxy.floxhub.cluster_token import ClusterToken, TokenEvents
from registry_proxy.floxhub.deadline import PunctualClient
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.resolver import Freshness, Resolver, ResolverMetrics
from registry_proxy.floxhub.snapshots import Snapshots
from registry_proxy.floxhub.urls import FloxHubUrls
from registry_proxy.hub.server import serve_hub_app
from registry_proxy.hub.tokens import HubTokens
from registry_proxy.log import Log
from registry_proxy.nix.binary_cache import open_cache
from registry_proxy.nix.closure_walk import ClosureWalk
from registry_proxy.nix.measured_client import CacheMetrics, MeasuredClient
from registry_proxy.repositories.closures import Closures
from registry_proxy.repositories.empty import EmptyImages
from registry_proxy.repositories.environments import EnvironmentImages
from registry_proxy.repositories.generation_images import GenerationImages
from registry_proxy.repositories.index_referrers import IndexReferrers
from registry_proxy.settings import Settings, activation_shells

_USER_AGENT = "floxbridge"
_THREADS = 32
_KEPT_S = 4.0
"""Connections to FloxHub that are idle: shorter than servers keep them, so that none is used that is being closed."""


class RegistryMetrics(AskingMetrics, ResolverMetrics, CacheMetrics, Protocol):
    """All that is told while a registry works, and what may be looked at."""

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None: ...


class NoMetrics:
    """For a command that ends before anybody could look."""

    def upstream_answered(self, upstream: str, outcome: str, seconds: float) -> None:
        pass

    def upstream_sent(self, upstream: str, received_bytes: int) -> None:
        pass

    def resolved(self, outcome: str, age_s: float | None) -> None:
        pass

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Registry:
    """The parts of a running registry, for serving and for `floxbridge resolve`."""

    parts: Parts
    environments: EnvironmentImages
    token: ClusterToken


def trusted_keys(settings: Settings) -> TrustedKeys:
    try:
        return TrustedKeys(PublicKey.parse(key) for key in settings.trusted_key)
    except FormatError as error:
        raise SettingsInvalid(f"setting --trusted-key: {error}") from error


def cluster_token(settings: Settings, log: Log) -> ClusterToken:
    return ClusterToken(
        settings.floxhub_token_file,
        TokenEvents(
            unusable=lambda sentence: log.event("token_unusable", message=sentence),
            expiring=lambda sentence: log.event("token_expiring", message=sentence),
        ),
    )


@contextlib.asynccontextmanager
async def open_registry(
    settings: Settings, urls: FloxHubUrls, log: Log, metrics: RegistryMetrics
) -> AsyncIterator[Registry]:
    """Opens the state directory and the clients; closes all of it. Raises SettingsInvalid, StorageFailed."""
    step = httpx2.Timeout(settings.cache_timeout_s, connect=settings.connect_timeout_s)
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
    patience = httpx2.Timeout(settings.fetch_timeout_s, connect=settings.connect_timeout_s)
    with PunctualClient(timeout=patience, headers=headers, limits=httpx2.Limits(keepalive_expiry=_KEPT_S)) as git_http:
        async with MeasuredClient(metrics, timeout=step, headers=headers, follow_redirects=True) as cache_http:
            store = ContentStore(settings.state_dir / "content")
            holdings = Holdings(settings.state_dir / "repositories")
            downloads = Downloads(store)
            threads = anyio.CapacityLimiter(_THREADS)
            caches = {cache.url: cache for cache in (open_cache(url, cache_http) for url in settings.nix_cache)}
            walk = ClosureWalk(
                list(caches.values()),
                trusted_keys(settings),
                downloads,
                max_questions=settings.max_questions,
                activation_bash=activation_shells(settings.activation_bash),
            )
            closures = Closures(walk, store, holdings, threads)
            snapshots = Snapshots(settings.state_dir / "floxhub")
            git = FloxHubGit(urls, git_http)
            asking = Asking(git, snapshots, timeout_s=settings.fetch_timeout_s, metrics=metrics)
            resolver = Resolver(
                None if settings.offline else asking,
                snapshots,
                freshness=Freshness(
                    settings.resolve_ttl_s, settings.pinned_ttl_s, settings.missing_ttl_s, settings.max_stale_s
                ),
                lookup_timeout_s=settings.lookup_timeout_s,
                metrics=metrics,
            )
            token = cluster_token(settings, log)
            await token.current()
            images = GenerationImages(urls, store, holdings, threads, lost=resolver.lost)
            index_referrers = IndexReferrers(
                closures,
                store,
                holdings,
                threads,
                missing=lambda environment, why: log.event("sbom_missing", environment=str(environment), message=why),
            )
            environments = EnvironmentImages(
                resolver, images, store, holdings, downloads, closures, index_referrers, caches, threads
            )
            hub = _embedded_hub(settings, log)
            _watch(metrics, store, downloads, token)
            counting = asyncio.create_task(anyio.to_thread.run_sync(store.count, abandon_on_cancel=True))
            following = asyncio.create_task(token.follow(), name="cluster token")
            try:
                yield Registry(Parts(EmptyImages(), environments, store, Callers(token), hub), environments, token)
            finally:
                counting.cancel()
                following.cancel()
                await asyncio.gather(counting, following, return_exceptions=True)
                for part in (images, index_referrers, resolver, closures, downloads):
                    await part.aclose()


def _embedded_hub(settings: Settings, log: Log) -> ASGIApp | None:
    if settings.hub_dir is None:
        return None
    if not settings.hub_dir.is_dir():
        raise SettingsInvalid(
            f"--hub-dir: no hub at {settings.hub_dir}; make one with: floxbridge hub init --root {settings.hub_dir}"
        )
    path = settings.hub_tokens_file
    if path is None:
        return serve_hub_app(settings.hub_dir)
    tokens = HubTokens(path, problem=lambda sentence: log.event("hub_tokens_unusable", message=sentence))
    return serve_hub_app(settings.hub_dir, tokens=tokens)


def _watch(metrics: RegistryMetrics, store: ContentStore, downloads: Downloads, token: ClusterToken) -> None:
    metrics.watch(
        "floxbridge_token_expiry_timestamp_seconds",
        "When the cluster's FloxHub token expires; 0 without a token that says.",
        lambda: token.expires_at,
    )
    metrics.watch("floxbridge_content_bytes", "Bytes in the content store.", lambda: store.tally.bytes)
    metrics.watch("floxbridge_content_files", "Files in the content store.", lambda: store.tally.files)
    metrics.watch("floxbridge_downloads_in_flight", "NARs being fetched.", lambda: downloads.in_flight)
