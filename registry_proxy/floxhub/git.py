"""FloxHub as git sees it: which commit a branch stands at, and the files of that commit.

An adapter, with `git_http.py`, `pack_index.py` and `garbage.py`: dulwich is known to them only. All of it blocks, so it
belongs in a thread.
Layout of the repositories: FH §1.2; a depth-1 fetch of one branch holds every generation.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dulwich.client import FetchPackResult
from dulwich.errors import GitProtocolError
from dulwich.object_store import DiskObjectStore, ObjectStoreGraphWalker, tree_lookup_path
from dulwich.objects import Blob, Commit, ObjectID
from dulwich.refs import Ref

from flox_formats.environment import EnvironmentName
from registry_proxy.content.durable import storage_failed
from registry_proxy.errors import CommitLost, EnvironmentUnknown, FloxHubGarbled, StorageFailed
from registry_proxy.floxhub.deadline import Deadline, PunctualClient
from registry_proxy.floxhub.garbage import GARBAGE
from registry_proxy.floxhub.git_http import GitClient
from registry_proxy.floxhub.pack_bounds import check_pack
from registry_proxy.floxhub.pack_index import index_pack
from registry_proxy.floxhub.urls import FloxHubUrls

if TYPE_CHECKING:
    from dulwich.client import DetermineWantsFunc

MAX_FILE_BYTES = 16 * 1024 * 1024
_MAX_PACK_BYTES = 64 * 1024 * 1024
_MAX_UNPACKED_BYTES = 2 * 1024 * 1024 * 1024
MAX_HELD_BYTES = 128 * 1024 * 1024
"""Git's own chains of deltas hardly branch, and are fifty long at most."""
_MAX_OBJECTS = 200_000
_MAX_REFS_BYTES = 4 * 1024 * 1024
"""Some 60,000 branches; dulwich takes three times as much memory for them."""
_HEADS = b"refs/heads/"


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a branch stands: a commit, 40 hex characters. `needed_token`: FloxHub wanted to see one before it said."""

    commit: str
    needed_token: bool


class FloxHubGit:
    """Asks one FloxHub. `http` brings the timeouts of single steps, each call a deadline for the whole."""

    def __init__(self, urls: FloxHubUrls, http: PunctualClient) -> None:
        self._urls, self._http = urls, http

    def branches(self, owner: str, *, token: str | None, token_wanted: bool, deadline: Deadline) -> tuple[str, ...]:
        """The names of all environments of an owner that FloxHub shows us. Two round trips.

        `token_wanted`: FloxHub has asked for the token already. It does not ask again for a list; it only leaves out.
        """
        url = self._urls.repository(owner)
        client = GitClient(
            self._http,
            url,
            token=token,
            asked_before=token_wanted,
            deadline=deadline,
            max_refs_bytes=_MAX_REFS_BYTES,
            max_pack_bytes=0,
        )
        try:
            with closing(client):
                refs = client.get_refs("", protocol_version=2, ref_prefix=[Ref(_HEADS)]).refs
                client.finish()
        except GARBAGE as error:
            raise self._garbled(owner, error) from error
        return tuple(sorted(ref[len(_HEADS) :].decode(errors="replace") for ref in refs if ref.startswith(_HEADS)))

    def fetch(
        self,
        environment: EnvironmentName,
        *,
        token: str | None,
        have: Callable[[str], bool],
        folder: Path,
        deadline: Deadline,
    ) -> Tip:
        """The tip of the environment's branch; unless the caller says to `have` it, it is in `folder` afterwards.

        Two round trips for a known commit, three for a new one, one more where FloxHub asks for the token. `folder` is
        the caller's, who removes it when this raises one of FloxHub's errors; it is made when there is a pack to come,
        so that a disk that fails does not keep FloxHub from saying who may see what.
        """
        branch = Ref(_HEADS + environment.name.encode())
        url = self._urls.repository(environment.owner)
        client = GitClient(
            self._http,
            url,
            token=token,
            deadline=deadline,
            max_refs_bytes=_MAX_REFS_BYTES,
            max_pack_bytes=_MAX_PACK_BYTES,
        )

        pack = _IncomingPack(folder)

        def wanted(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
            tip = refs.get(branch)
            if tip is None or have(tip.decode()):
                return []
            pack.open()
            return [tip]

        try:
            with closing(client), closing(pack):
                answer = self._fetch_pack(client, branch, wanted, pack)
                client.finish()
            tip = answer.refs.get(branch)
            if tip is None:
                unknown = EnvironmentUnknown(f"FloxHub at {self._urls.base} has no environment {environment}")
                unknown.after_token = client.challenged
                raise unknown
            if pack.was_opened:
                _keep(pack.path, folder, tip)
        except GARBAGE as error:
            raise self._garbled(environment.owner, error) from error
        except OSError as error:
            raise storage_failed(folder, error) from error
        finally:
            pack.remove()
        return Tip(tip.decode(), needed_token=client.challenged)

    def _fetch_pack(
        self, client: GitClient, branch: Ref, wanted: "DetermineWantsFunc", pack: "_IncomingPack"
    ) -> FetchPackResult:
        return client.fetch_pack(
            "",
            wanted,
            ObjectStoreGraphWalker([], lambda commit: []),
            pack.write,
            depth=1,
            ref_prefix=[branch],
            protocol_version=2,
        )

    def _garbled(self, owner: str, error: Exception) -> FloxHubGarbled:
        url = self._urls.repository(owner)
        detail = str(error) or type(error).__name__
        return FloxHubGarbled(f"FloxHub at {url} answered with something that is not a git repository: {detail[:200]}")


class _IncomingPack:
    """The file of a pack that is asked for. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.path = folder, folder / "incoming.pack"
        self._file: BinaryIO | None = None

    @property
    def was_opened(self) -> bool:
        return self._file is not None

    def open(self) -> None:
        self._folder.mkdir(0o700, parents=True, exist_ok=True)  # it may hold what not everybody may see
        self._file = self.path.open("xb")

    def write(self, data: bytes) -> int:
        if self._file is None:
            raise GitProtocolError("a pack came that nobody asked for")
        return self._file.write(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        if self._file is not None:
            self.path.unlink(missing_ok=True)


class CommitFiles:
    """The files of one fetched commit, read from the folder that `FloxHubGit.fetch` filled."""

    def __init__(self, folder: Path, commit: str) -> None:
        self._folder, self._commit = folder, commit

    def read(self, path: str) -> bytes | None:
        """A file of at most MAX_FILE_BYTES, or None where there is none.

        Raises FloxHubGarbled on a broken tree, CommitLost when the folder is gone, StorageFailed when it cannot be
        read.
        """
        store = DiskObjectStore(str(self._folder))
        try:
            tip = ObjectID(self._commit.encode())
            if tip not in store:
                raise CommitLost(f"commit {self._commit} is no longer in {self._folder}: ask again, to have it fetched")
            commit = store[tip]
            if not isinstance(commit, Commit):
                raise FloxHubGarbled(f"FloxHub's branch stands at {self._commit}, which is no commit")
            _, sha = tree_lookup_path(store.__getitem__, commit.tree, path.encode())
            found = store[sha]
            return found.as_raw_string() if isinstance(found, Blob) else None
        except KeyError:
            return None
        except OSError as error:
            raise StorageFailed(f"state at {self._folder}: {error.strerror or error}") from error
        except GARBAGE as error:
            raise FloxHubGarbled(f"commit {self._commit} from FloxHub is broken at {path}: {error}") from error
        finally:
            store.close()


def _keep(pack_path: Path, folder: Path, tip: ObjectID) -> None:
    """Makes an object store of a pack that was looked through first, and sees that its commit is there."""
    with pack_path.open("rb") as pack:
        check_pack(
            pack,
            max_objects=_MAX_OBJECTS,
            max_object_bytes=MAX_FILE_BYTES,
            max_total_bytes=_MAX_UNPACKED_BYTES,
        )
    index_pack(pack_path, folder, max_held_bytes=MAX_HELD_BYTES)
    store = DiskObjectStore(str(folder))
    try:
        if tip not in store:
            raise GitProtocolError(f"the pack does not hold the commit {tip.decode()} that was asked for")
    finally:
        store.close()
