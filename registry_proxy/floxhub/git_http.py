"""Git's smart HTTP for dulwich, on httpx2: so that every answer has a deadline, a size bound and an error of ours.

Belongs here: HTTP requests, and what their failures mean. What is asked for is in `git.py`.
Meaning of the statuses: FH §1.6.
"""

import base64
import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx2
from dulwich.client import AbstractHttpGitClient

from registry_proxy.errors import (
    EnvironmentForbidden,
    EnvironmentPrivate,
    EnvironmentUnknown,
    FloxHubGarbled,
    FloxHubUnavailable,
    RegistryError,
    TokenRejected,
)
from registry_proxy.floxhub.deadline import Deadline, PunctualClient

if TYPE_CHECKING:
    from dulwich.client import HTTPResponse

_ADVERTISEMENT = "application/x-git-upload-pack-advertisement"
_LIST_BRANCHES = b"command=ls-refs"
_MAX_RETRY_AFTER_S = 3600
_MAX_REST_BYTES = 64 * 1024
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_BASIC = re.compile(r"(?:^|,)\s*basic(?=[\s,]|$)", re.IGNORECASE)
"""A challenge among others: https://www.rfc-editor.org/rfc/rfc9110#field.www-authenticate"""


class GitClient(AbstractHttpGitClient):
    """One conversation with one repository. Blocks: belongs in a thread.

    As far as HTTP goes it raises only errors of ours; what dulwich makes of the bytes is the caller's affair. To be
    closed: dulwich drops answers that it cannot read, and each would keep its connection for ever.
    """

    def __init__(
        self,
        http: PunctualClient,
        url: str,
        *,
        token: str | None,
        asked_before: bool = False,
        deadline: Deadline,
        max_refs_bytes: int,
        max_pack_bytes: int,
    ) -> None:
        """As git does it, FloxHub is shown the token only once it asked for it (FH §1.4), here or `asked_before`.

        Answers have bounds of their own: branches are held in memory, a pack is not.
        """
        super().__init__(url, thin_packs=False, quiet=True)
        self._http, self._deadline = http, deadline
        self._max_refs_bytes, self._max_pack_bytes = max_refs_bytes, max_pack_bytes
        self._token, self.challenged = token, asked_before and token is not None
        self._answer: _Answer | None = None

    def finish(self) -> None:
        """The conversation went well: its connection may serve another one."""
        if self._answer is not None:
            self._answer.finish()

    def close(self) -> None:
        if self._answer is not None:
            self._answer.drop()

    def _get_url(self, path: str | bytes) -> str:
        return urljoin(self._base_url, path if isinstance(path, str) else path.decode())

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> "tuple[HTTPResponse, Callable[[int], bytes]]":
        if not url.startswith(self._base_url):  # the protocol lets FloxHub name any place where a pack is
            raise FloxHubGarbled(f"FloxHub at {self._base_url} has its packs elsewhere: only itself is asked")
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        answer = self._send(url, headers, body)
        if self._asks_for_token(answer):
            self.challenged = True
            answer = self._send(url, headers, body)
        _check_status(answer, self._base_url, had_token=self.challenged)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise FloxHubGarbled(f"FloxHub at {self._base_url} compressed an answer, which nobody asked for")
        if data is None and answer.content_type != _ADVERTISEMENT:
            raise FloxHubGarbled(
                f"{url} answered {answer.content_type or 'without a content type'}, not git's smart protocol: "
                "is --floxhub-url (or --floxhub-git-url) really a FloxHub?"
            )
        return answer, answer.read

    def _send(self, url: str, headers: dict[str, str] | None, body: bytes | None) -> "_Answer":
        self.finish()  # who asks on has understood what came before
        request = self._http.build_request("GET" if body is None else "POST", url, headers=headers, content=body)
        self._http.keep(self._deadline)
        if self.challenged:
            secret = base64.b64encode(f"oauth:{self._token}".encode()).decode()
            request.headers["Authorization"] = f"Basic {secret}"
        try:
            response = self._http.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise _unreachable(self._base_url, error) from error
        has_pack = body is not None and _LIST_BRANCHES not in body
        max_bytes = self._max_pack_bytes if has_pack else self._max_refs_bytes
        self._answer = _Answer(response, self._base_url, self._deadline, max_bytes)
        return self._answer

    def _asks_for_token(self, answer: "_Answer") -> bool:
        challenges = _QUOTED.sub("", answer.headers.get("www-authenticate", ""))
        asked = _BASIC.search(challenges) is not None
        return answer.status == 401 and asked and self._token is not None and not self.challenged


class _Answer:
    """What dulwich wants of a response: exact reads, its type, and where it came from."""

    def __init__(self, response: httpx2.Response, base_url: str, deadline: Deadline, max_bytes: int) -> None:
        self._response, self._base_url, self._deadline, self._bytes_left = response, base_url, deadline, max_bytes
        self._chunks, self._ahead = response.iter_raw(), b""
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.content_type: str | None = response.headers.get("content-type", "")
        self.redirect_location = ""

    def geturl(self) -> str:
        return str(self._response.url)

    def read(self, amt: int | None = None) -> bytes:
        parts, missing = [], 65536 if amt is None else amt
        while missing:
            piece = self._ahead or self._more()
            if not piece:
                break
            parts.append(piece[:missing])
            self._ahead = piece[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        """dulwich's word for having read enough. What becomes of the connection is `GitClient`'s to say."""

    def finish(self) -> None:
        """Reads the little that there may be beyond what dulwich wanted: only then is the connection of further use."""
        with contextlib.suppress(RegistryError):
            self._bytes_left = min(self._bytes_left, _MAX_REST_BYTES)
            while self._more():
                pass
        self.drop()

    def drop(self) -> None:
        self._response.close()

    def _more(self) -> bytes:
        try:
            chunk = next(self._chunks, b"")
        except httpx2.HTTPError as error:
            raise _unreachable(self._base_url, error) from error
        self._bytes_left -= len(chunk)
        if self._bytes_left < 0:
            raise FloxHubGarbled(f"FloxHub at {self._base_url} sent more than is read of one answer")
        if not self._deadline.left_s():
            raise FloxHubUnavailable(f"FloxHub at {self._base_url} was still sending when the time was up")
        return chunk


def _unreachable(url: str, error: httpx2.HTTPError) -> FloxHubUnavailable:
    slow = isinstance(error, httpx2.TimeoutException)
    problem = "did not answer in time" if slow else f"cannot be reached: {error or type(error).__name__}"
    return FloxHubUnavailable(f"FloxHub at {url} {problem}")


def _check_status(answer: _Answer, url: str, *, had_token: bool) -> None:
    if answer.status != 200:
        raise _error_for(answer.status, url, answer.headers, had_token=had_token)


def _error_for(status: int, url: str, headers: Mapping[str, str], *, had_token: bool) -> RegistryError:
    if status == 401 and had_token:
        return TokenRejected(f"token rejected: FloxHub at {url} does not accept it; it may be expired or revoked")
    if status == 401:
        return EnvironmentPrivate(
            f"FloxHub shows {url} to nobody without a token: it may be private, or not exist. "
            "Log in as user 'oauth' with the token as password"
        )
    if status == 403:
        return EnvironmentForbidden(f"FloxHub at {url} knows who asks, and does not show them this: ask its owner")
    if status == 404:
        return EnvironmentUnknown(
            f"FloxHub knows no owner at {url}: check the spelling, which is case-sensitive. An owner with capitals, "
            "which no image can name, is reached by the annotation flox.dev/environment alone"
        )
    if status == 429 or status >= 500:
        error = FloxHubUnavailable(f"FloxHub at {url} answered HTTP {status}")
        seconds = _retry_after_s(headers)
        if seconds:
            error.retry_after_s = error.upstream_retry_after_s = min(seconds, _MAX_RETRY_AFTER_S)
        return error
    return FloxHubGarbled(f"FloxHub at {url} answered HTTP {status}, which git's protocol has no place for")


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Whole seconds, 0 at least. A date is taken by the clock of whoever sent it, where that is told.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    until, now = _date(text), _date(headers.get("date", "")) or datetime.now(UTC)
    return None if until is None else max(0, math.ceil((until - now).total_seconds()))


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
