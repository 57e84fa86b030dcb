"""Explaining by asking FloxHub: all images of an environment can be made again, and so their digests found.

Belongs here: which generation has the digest. What else hangs on an image (closures, bills) FloxHub does not know.
"""

import anyio.to_thread

from flox_formats.digest import Digest
from registry_proxy.errors import EnvironmentUnusable
from registry_proxy.explain.asked_image import AskedImage
from registry_proxy.explain.evidence import Event, Evidence, NotExplained, Previous
from registry_proxy.floxhub.credential import Credential, View
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.images.annotations import rfc3339
from registry_proxy.images.environment_image import EnvironmentImage
from registry_proxy.images.reference import GenerationTag, parse_tag
from registry_proxy.repositories.environments import EnvironmentImages, TaggedImage


class FromFloxHub:
    """`name` says which FloxHub is asked, `credential` on whose behalf."""

    def __init__(self, environments: EnvironmentImages, credential: Credential, name: str) -> None:
        self._environments, self._credential, self._name = environments, credential, name

    async def explain(self, asked: AskedImage) -> Evidence:
        """`asked` names an environment. Raises NotExplained and what the registry raises."""
        assert asked.environment is not None
        view = View(asked.environment, self._credential)
        if asked.digest is None:
            tagged, what = await self._environments.tagged(view, parse_tag(asked.tag)), "image index"
        else:
            tagged, what = await self._with_digest(view, asked.digest)
        image, snapshot = tagged.image, tagged.resolution.snapshot
        missing = list[str]()
        previous = await anyio.to_thread.run_sync(_previous, snapshot, image.generation.parent, missing)
        return Evidence(
            source=f"FloxHub at {self._name}",
            what=what,
            environment=image.environment,
            generation=image.generation.number,
            created=rfc3339(image.generation.created),
            index=image.index.digest,
            lockfile=image.lockfile,
            is_live=snapshot.generations.live == image.generation.number,
            history=tuple(map(Event.of, snapshot.generations.history)),
            previous=previous,
            missing=tuple(missing),
        )

    async def _with_digest(self, view: View, digest: Digest) -> tuple[TaggedImage, str]:
        """Newest first: what is asked about usually runs."""
        tags = (await self._environments.tags(view)).content
        numbers = sorted((int(tag) for tag in tags if tag.isdecimal()), reverse=True)
        for number in numbers:
            try:
                tagged = await self._environments.tagged(view, GenerationTag(number))
            except EnvironmentUnusable:
                continue  # no image, no digest
            what = part_of(tagged.image, digest)
            if what is not None:
                return tagged, what
        raise NotExplained(
            f"none of the {len(numbers)} generations of {view} that FloxHub has makes an image with {digest}: somebody "
            "may have rewritten the environment since, the registry may know FloxHub by another base URL than "
            f"{self._name}, which is part of every image, or it is a closure, a package or a bill of materials; the "
            "registry that served it knows: --registry-url URL, or --state-dir DIR beside it"
        )


def part_of(image: EnvironmentImage, digest: Digest) -> str | None:
    """What `digest` is in the image; None when it is nothing of its own."""
    parts = {image.index.digest: "image index", image.lockfile.digest: "lockfile"}
    parts |= {image.manifests[system].digest: f"image manifest for {system.oci_platform}" for system in image.systems}
    parts |= {image.configs[system].digest: f"image config for {system.oci_platform}" for system in image.systems}
    return parts.get(digest)


def _previous(snapshot: Snapshot, number: int | None, missing: list[str]) -> Previous | None:
    """Blocks."""
    if number is None:
        return None
    try:
        return Previous(number, snapshot.lockfile(number))
    except EnvironmentUnusable as problem:
        missing.append(f"what changed: {problem}")
        return None
