"""What one caller sees of an owner's repository, in which there may be private environments.

Belongs here: which branches those are, how git is told, and what of a request goes beyond them. Does not: who the
caller is (`caller.py`), or HTTP (`server.py`). Source: FH §1.7.

Hiding refs is not enough. In version 2 of the protocol git gives any object of the repository to whoever can name it,
and it answers which commits it has; so each is judged before git is asked.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry_proxy.hub.caller import Caller
from registry_proxy.hub.local import DEADLINE_S, REPOSITORY
from registry_proxy.hub.privacy import Privacy
from registry_proxy.hub.repository import HubError, HubRepository
from registry_proxy.hub.upload_pack_request import UploadPackRequest

_HEADS = "refs/heads"


class TokenWanted(HubError):
    """What is asked for may be private, and the caller has shown no token, or one that is not accepted."""


class PushDenied(HubError):
    """The caller's token is good, and not for changing this repository."""


class NotShown(HubError):
    """What is asked for is not there, as far as this caller is concerned."""


@dataclass(frozen=True, slots=True)
class HubView:
    """`tips` are the branches that the caller sees, and where they stand; `hides` says whether there are others."""

    repository: Path
    caller: Caller
    tips: Mapping[str, str]
    hides: bool

    @classmethod
    def of(cls, root: Path, owner: str, caller: Caller) -> "HubView":
        """Blocks. Raises HubFailed."""
        folder = root / owner / REPOSITORY
        tips = HubRepository(folder, deadline=time.monotonic() + DEADLINE_S).tips()
        # Asked afterwards: a private environment is marked before there is a branch, so no tip's mark is missing here.
        hidden = caller.hidden(owner, Privacy(folder).private_names())
        return cls(folder, caller, {name: tip for name, tip in tips.items() if name not in hidden}, bool(hidden))

    def check_opens(self) -> None:
        """Raises TokenWanted when the repository shows nothing to a caller of whom nothing is known."""
        if self.caller.is_anonymous and self.hides and not self.tips:
            raise TokenWanted("all environments of this owner are private")

    def refuse_push(self) -> HubError:
        """Who does not see everything pushes nothing. What is pushed may be made of objects that are here already:
        whoever can name a hidden one could put it on a branch of their own, and read it there.
        """
        if self.caller.is_anonymous:
            return TokenWanted("this owner has private environments, so not everybody pushes")
        return PushDenied("this token does not see all private environments of this owner, so it cannot push")

    def settings(self) -> tuple[tuple[str, str], ...]:
        """Git's configuration that hides every other environment. Of several patterns that match, git takes the last.

        Where something is private, other refs may show it: a tag, or HEAD.
        """
        others = ("refs", "HEAD") if self.hides else (_HEADS,)
        patterns = (*others, *(f"!{_HEADS}/{name}" for name in self.tips))
        return tuple(("transfer.hideRefs", pattern) for pattern in patterns)

    def passed(self, request: UploadPackRequest) -> UploadPackRequest:
        """The request as git may see it: the same, except that the client has no commits that are hidden from it.

        What is not there and what is hidden are treated alike. Blocks. Raises TokenWanted, NotShown and HubFailed.
        """
        commits = self._commits(request)
        beyond = sorted((request.wants - commits) | (request.branches - self.tips.keys()))
        if self.caller.is_anonymous and (beyond or request.looked_for - self.tips.keys()):
            raise TokenWanted("no such environment, or it is private")
        if beyond:
            raise NotShown(f"upload-pack: not our ref {beyond[0][:100]}")
        return request.having_only(commits)

    def _commits(self, request: UploadPackRequest) -> frozenset[str]:
        """Those that the caller sees; the tips alone where that is enough to judge, as it is for a first fetch."""
        tips = frozenset(self.tips.values())
        if request.wants <= tips and not request.haves:
            return tips
        repository = HubRepository(self.repository, deadline=time.monotonic() + DEADLINE_S)
        return repository.history(tips)
