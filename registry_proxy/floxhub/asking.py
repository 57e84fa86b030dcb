"""Asking FloxHub one question: which commit does this environment stand at, for this credential?

Belongs here: which requests a question takes (the token's fall-back, the spelling's). Does not: how long an answer is
good, or that only one question is in flight (`resolver.py`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from flox_formats.environment import EnvironmentName
from registry_proxy.errors import (
    EnvironmentAmbiguous,
    EnvironmentForbidden,
    EnvironmentPrivate,
    EnvironmentUnknown,
    FloxHubUnavailable,
    RegistryError,
    TokenRejected,
)
from registry_proxy.floxhub.credential import View
from registry_proxy.floxhub.deadline import Deadline
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.snapshots import Fetched, Snapshots

_NOT_SHOWN = (EnvironmentUnknown, EnvironmentPrivate, EnvironmentForbidden)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FloxHubAnswer:
    """What FloxHub shows, and through which view: everybody's, unless it wanted to see the token first."""

    snapshot: Snapshot
    view: View


class AskingMetrics(Protocol):
    """Told about every question."""

    def upstream_answered(self, upstream: str, outcome: str, seconds: float) -> None: ...


class Asking:
    """One question may take `timeout_s` in all; at most `max_threads` are asked at once.

    Where FloxHub says how long it wants to be left alone, that holds for every question.
    """

    def __init__(
        self, git: FloxHubGit, snapshots: Snapshots, *, timeout_s: float, metrics: AskingMetrics, max_threads: int = 32
    ) -> None:
        self._git, self._snapshots, self._timeout_s, self._metrics = git, snapshots, timeout_s, metrics
        self._threads = anyio.CapacityLimiter(max_threads)
        self._pause, self._why_pause = Deadline.after(0), ""

    async def answer(self, view: View, known: Snapshot | None) -> FloxHubAnswer:
        """What FloxHub shows to who has a view, kept on disk. `known` is what it showed through this one before.

        A rejected token is tried without, so that public environments go on working. Raises FloxHub's errors.
        """
        self._refuse_in_a_pause()
        began, outcome = time.monotonic(), "failed"
        try:
            answer = await self._with_fall_back(view, known)
            outcome = "ok"
            return answer
        except _NOT_SHOWN:
            outcome = "not_found"
            raise
        finally:
            self._metrics.upstream_answered("floxhub", outcome, time.monotonic() - began)

    def _refuse_in_a_pause(self) -> None:
        left_s = math.ceil(self._pause.left_s())
        if left_s:
            error = FloxHubUnavailable(f"{self._why_pause}; as it wants, it is asked nothing for another {left_s} s")
            error.retry_after_s = left_s
            raise error

    async def _with_fall_back(self, view: View, known: Snapshot | None) -> FloxHubAnswer:
        deadline = Deadline.after(self._timeout_s)
        try:
            return await self._as_spelled(view, known, deadline)
        except TokenRejected as rejected:
            try:
                return await self._as_spelled(view.everybodys, known, deadline)
            except RegistryError:  # whatever it is: what the token was shown is no longer this caller's
                raise rejected from None

    async def _as_spelled(self, view: View, known: Snapshot | None, deadline: Deadline) -> FloxHubAnswer:
        not_found: EnvironmentUnknown | EnvironmentPrivate | None = None
        if known is None or known.environment == view.environment:
            try:
                return await self._fetch(view, view.environment, known, deadline)
            except (EnvironmentUnknown, EnvironmentPrivate) as error:
                not_found = error
        exact = await self._spelled(view, not_found, deadline)
        return await self._fetch(view, exact, known if known and known.environment == exact else None, deadline)

    async def _fetch(
        self, view: View, exact: EnvironmentName, known: Snapshot | None, deadline: Deadline
    ) -> FloxHubAnswer:
        return await self._in_thread(lambda: self._fetch_blocking(view, exact, known, deadline))

    def _fetch_blocking(
        self, view: View, exact: EnvironmentName, known: Snapshot | None, deadline: Deadline
    ) -> FloxHubAnswer:
        folder, asked_at = self._snapshots.new_folder(), time.time()
        try:
            tip = self._git.fetch(
                exact,
                token=view.credential.token,
                have=lambda commit: self._snapshots.has(exact, commit),
                folder=folder,
                deadline=deadline,
            )
            through = view if tip.needed_token else view.everybodys
            fetched = Fetched(tip.commit, folder, asked_at)
            return FloxHubAnswer(self._snapshots.keep(exact, through.credential.viewer, fetched, known), through)
        finally:
            self._snapshots.drop(folder)

    async def _spelled(
        self, view: View, not_found: EnvironmentUnknown | EnvironmentPrivate | None, deadline: Deadline
    ) -> EnvironmentName:
        """OCI names are lower case and FloxHub's are not (design 4.1): the one branch that differs only by case.

        `not_found` is what FloxHub said of the name as it was asked for. It may call any name private, where the owner
        has private environments, so a list is asked for all the same. Where it is None, FloxHub showed another spelling
        through this view before; it wanted to see the token, if there is one, or this would be everybody's view.
        """
        asked, token = view.environment, view.credential.token
        token_wanted = token is not None and (
            not_found is None or (isinstance(not_found, EnvironmentUnknown) and not_found.after_token)
        )
        names = await self._in_thread(
            lambda: self._git.branches(asked.owner, token=token, token_wanted=token_wanted, deadline=deadline)
        )
        matches = [name for name in names if name.lower() == asked.name.lower()]
        if isinstance(not_found, EnvironmentPrivate) and not matches:
            raise not_found
        if not matches and not_found is None:
            return asked  # what was found under another spelling is gone: let FloxHub say why
        if asked.name in matches or len(matches) == 1:
            return asked if asked.name in matches else EnvironmentName(asked.owner, matches[0])
        if not matches:
            raise EnvironmentUnknown(
                f"FloxHub has no environment {asked}: check the spelling, and that it was pushed (flox push)"
            )
        spelled = " and ".join(f"{asked.owner}/{name}" for name in matches)
        raise EnvironmentAmbiguous(
            f"{asked} may mean {spelled}: an image name cannot tell them apart, "
            "so name the environment with the annotation flox.dev/environment, which is always exact"
        )

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(function, limiter=self._threads)
        except FloxHubUnavailable as error:
            if error.upstream_retry_after_s is not None:
                self._pause, self._why_pause = Deadline.after(error.upstream_retry_after_s), str(error)
            raise


def is_final(error: RegistryError) -> bool:
    """FloxHub has said no, rather than nothing: a last known answer does not stand against it."""
    return isinstance(error, (*_NOT_SHOWN, EnvironmentAmbiguous, TokenRejected)) or error.status in (400, 404)
