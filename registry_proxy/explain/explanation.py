"""An explanation: evidence as facts for a script, and as lines for a person.

Belongs here: words and their order. Nothing is asked.
"""

import shlex
from collections.abc import Iterator, Mapping

from registry_proxy.explain.asked_image import AskedImage
from registry_proxy.explain.evidence import Event, Evidence
from registry_proxy.explain.package_changes import Package, PackageChanges, packages_of
from registry_proxy.images.reference import PREFIX

Facts = Mapping[str, object]


class Explanation:
    def __init__(self, asked: AskedImage, evidence: Evidence) -> None:
        self._asked, self._evidence = asked, evidence
        self._packages = list(packages_of(evidence.lockfile).values()) if evidence.lockfile is not None else None
        self._changes = _changes(evidence)

    def to_json(self) -> Facts:
        """What is not known is null, and `missing` says why."""
        it, made = self._evidence, self._evidence.made
        return {
            "asked": str(self._asked),
            "what": it.what,
            "environment": str(it.environment),
            "generation": it.generation,
            "live": it.is_live,
            "image": self._image,
            "lockfile": str(it.lockfile.digest) if it.lockfile is not None else None,
            "created": it.created,
            "author": made.author if made else None,
            "hostname": made.hostname if made else None,
            "command": list(made.command) if made and made.command is not None else None,
            "summary": made.summary if made else None,
            "live_since": _live_since(it),
            "packages": None if self._packages is None else [package.to_json() for package in self._packages],
            "changes": self._changes_to_json(),
            "others": list(it.others),
            "source": it.source,
            "missing": list(self._missing),
        }

    def to_text(self) -> str:
        """What others wrote (authors, commands, versions) cannot move the cursor of whoever reads it."""
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in self._lines())

    @property
    def _image(self) -> str | None:
        it = self._evidence
        return None if it.index is None else f"{PREFIX}/{it.environment}@{it.index}"

    @property
    def _missing(self) -> tuple[str, ...]:
        it = self._evidence
        unknown = () if it.made is not None else (f"who made it: {it.source} does not know the history",)
        return (*it.missing, *unknown)

    def _changes_to_json(self) -> Facts | None:
        previous = self._evidence.previous
        if self._changes is None or previous is None:
            return None
        return {"since": previous.number, **self._changes.to_json()}

    def _lines(self) -> Iterator[str]:
        it, made = self._evidence, self._evidence.made
        yield f"{it.environment} generation {it.generation}{_live_words(it)}"
        if it.what != "image index":
            yield f"  asked     its {it.what}"
        yield f"  image     {self._image or 'not known'}"
        if it.created is not None:
            yield f"  made      {it.created}{_by(made)}"
        if made is not None:
            yield f"  how       {made.summary}{f': {shlex.join(made.command)}' if made.command else ''}"
        if since := _live_since(it):
            yield f"  live      since {since}"
        yield f"  from      {it.source}"
        yield from self._package_lines()
        yield from self._change_lines()
        if it.others:
            yield "also part of"
            yield from (f"  {other}" for other in it.others)
        if self._missing:
            yield "not known here"
            yield from (f"  {sentence}" for sentence in self._missing)

    def _package_lines(self) -> Iterator[str]:
        if self._packages is not None:
            yield "packages" if self._packages else "packages: none"
            width = max((len(package.install_id) for package in self._packages), default=0)
            for package in self._packages:
                yield f"  {package.install_id:<{width}}  {_name_and_version(package)}".rstrip()

    def _change_lines(self) -> Iterator[str]:
        it, changes = self._evidence, self._changes
        if changes is None or it.previous is None:
            return
        yield f"against generation {it.previous.number}, which was live before"
        lines = [f"  + {package.install_id}  {_name_and_version(package)}".rstrip() for package in changes.added]
        lines += [f"  - {package.install_id}  {_name_and_version(package)}".rstrip() for package in changes.removed]
        for package in changes.changed:
            how = f"{package.before} -> {package.after}" if package.before != package.after else "rebuilt"
            lines.append(f"  ~ {package.install_id}  {how}")
        lines += [f"  ~ the manifest's section {section}" for section in changes.manifest]
        yield from lines or ["  nothing that a container notices"]


def _changes(evidence: Evidence) -> PackageChanges | None:
    if evidence.previous is None or evidence.lockfile is None:
        return None
    return PackageChanges.between(evidence.previous.lockfile, evidence.lockfile)


def _live_since(evidence: Evidence) -> str | None:
    return evidence.history[-1].time if evidence.is_live and evidence.history else None


def _live_words(evidence: Evidence) -> str:
    return {True: " (live)", False: " (not live)", None: ""}[evidence.is_live]


def _by(made: Event | None) -> str:
    return "" if made is None else f" by {made.author} on {made.hostname}"


def _name_and_version(package: Package) -> str:
    return f"{package.name} {package.version or ''}".strip()
