"""A hub with private environments: who may see which, plain git with a token, and raw requests."""

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from flox_formats.environment import EnvironmentName
from flox_formats.history import Change
from registry_proxy.hub import local
from tests.integration.hub_rig import git

LOCK = (Path(__file__).parents[1] / "fixtures" / "lockfiles" / "catalog.lock").read_bytes()
ALICE = Change("alice", "build-01", ("floxbridge", "hub", "push"), 1772438400)
WEB, SECRET, ONLY = (EnvironmentName.parse(text) for text in ("acme/web", "acme/secret", "vault/only"))

TOKENS = """\
flox_pat_right   alice acme/secret vault/*
flox_pat_owner   acme
flox_pat_expired alice acme/* vault/* expires=2020-01-01T00:00:00Z
flox_pat_foreign bob other/*
"""
CREDENTIALS = {
    "no": None,
    "wrong": "flox_pat_wrong",
    "expired": "flox_pat_expired",
    "foreign": "flox_pat_foreign",
    "right": "flox_pat_right",
}


@dataclass(frozen=True)
class Hub:
    """acme has a public and a private environment, vault a private one alone."""

    root: Path
    tokens: Path

    @classmethod
    def make(cls, root: Path) -> "Hub":
        local.init(root / "hub")
        hub = cls(root / "hub", root / "tokens")
        for generation in (1, 2):
            hub.push(WEB, f"# {generation}")
            hub.push(SECRET, f"# a secret {generation}", private=True)
            hub.push(ONLY, f"# only {generation}", private=True)
        hub.write_tokens(TOKENS)
        return hub

    def push(self, environment: EnvironmentName, manifest: str, *, private: bool = False) -> None:
        local.push(self.root, environment, manifest.encode(), LOCK, change=ALICE, private=private)

    def write_tokens(self, text: str) -> None:
        self.tokens.touch(mode=0o600)
        self.tokens.write_text(text)

    def folder(self, owner: str) -> Path:
        return self.root / owner / "floxmeta"

    def commit(self, revision: str, owner: str = "acme") -> str:
        return git("rev-parse", revision, cwd=self.folder(owner)).strip()


@dataclass(frozen=True)
class Served:
    """A hub that is being served; nothing in it changes."""

    hub: Hub
    url: str
    folder: Path

    def repository(self, owner: str = "acme") -> str:
        return f"{self.url}/git/{owner}/floxmeta"


def asking(folder: Path, token: str | None) -> dict[str, str]:
    """Variables with which git shows a token, as the password of user `oauth`, to whoever challenges it."""
    if token is None:
        return {}
    script = folder / "askpass"
    if not script.exists():
        script.write_text('#!/bin/sh\ncase "$1" in User*) echo oauth;; *) echo "$SHOWN_TOKEN";; esac\n')
        script.chmod(0o700)
    return {"GIT_ASKPASS": str(script), "SHOWN_TOKEN": token}


def header(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"oauth:{token}".encode()).decode()}


def line(text: str) -> bytes:
    return f"{len(text) + 4:04x}{text}".encode()


def command(name: str, *arguments: str) -> bytes:
    return b"".join((line(f"command={name}"), b"0001", *map(line, arguments), b"0000"))


@dataclass(frozen=True)
class Asked:
    """A request, and what of its answer only those may see who have the right."""

    body: bytes | None
    revealed: str
    owner: str = "acme"
    protocol: str = "version=2"
    query: str = ""
    packed: bool = False

    def send(self, served: Served, token: str | None) -> httpx2.Response:
        url, headers = served.repository(self.owner), {"Git-Protocol": self.protocol, **header(token)}
        if self.body is None:
            return httpx2.get(f"{url}/info/refs?service=git-upload-pack{self.query}", headers=headers, timeout=30)
        headers["Content-Type"] = "application/x-git-upload-pack-request"
        if self.packed:
            headers["Content-Encoding"] = "gzip"
        content = gzip.compress(self.body) if self.packed else self.body
        return httpx2.post(f"{url}/git-upload-pack", headers=headers, content=content, timeout=30)


PACK = "PACK"


def ls_refs(*prefixes: str) -> Callable[[Hub], Asked]:
    arguments = [f"ref-prefix {prefix}" for prefix in prefixes]
    return lambda hub: Asked(command("ls-refs", *arguments), hub.commit("secret"))


def fetch(revision: str, *more: str, owner: str = "acme", packed: bool = False) -> Callable[[Hub], Asked]:
    def asked(hub: Hub) -> Asked:
        return Asked(command("fetch", f"want {hub.commit(revision, owner)}", *more, "done"), PACK, owner, packed=packed)

    return asked


def fetch_v0(revision: str, owner: str = "acme") -> Callable[[Hub], Asked]:
    def asked(hub: Hub) -> Asked:
        body = line(f"want {hub.commit(revision, owner)} side-band-64k\n") + b"0000" + line("done\n")
        return Asked(body, PACK, owner, protocol="")

    return asked


def info_refs(revision: str, owner: str, protocol: str, query: str = "") -> Callable[[Hub], Asked]:
    return lambda hub: Asked(None, hub.commit(revision, owner), owner, protocol, query)
