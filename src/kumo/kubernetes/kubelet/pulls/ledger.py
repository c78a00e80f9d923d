"""The kubelet's memory of its pulls: asked whether a pod may use an image, told of pulls as they begin and end.

Upstream: `pkg/kubelet/images/pullmanager/image_pull_manager.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from kumo.api.objects import timestamp
from kumo.host.containerd.images import normalize
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.pulls.credentials import Credential, PullSecret
from kumo.kubernetes.kubelet.pulls.records import Pulled, RecordFiles, file_name
from kumo.kubernetes.kubelet.pulls.verification import Access, Policy, Verdict, judge, merged, untagged

_log = structlog.get_logger("kumo.kubelet")


class PullLedger:
    """Memory is the truth while the kubelet runs; the files below `directory` outlive it. `policy` says who is asked.

    `images` lists what the node has: after a kill it tells which pulls were over.
    """

    def __init__(self, directory: Path, policy: Policy, images: Callable[[], Awaitable[Sequence[cri.Image]]]) -> None:
        self._files = RecordFiles(directory)
        self._policy = policy
        self._images = images
        self._intents: dict[str, int] = {}
        self._records: dict[str, Pulled | None] = {}
        self._doubtful: dict[str, bool] = {}
        """Images that may be here by a pull that nobody waited for, and whether they were looked for already."""
        self._loaded = False
        self._one = asyncio.Lock()

    @property
    def sizes(self) -> tuple[int, int]:
        """How many intents and how many records there are."""
        return len(self._intents), len(self._records)

    async def verdict(
        self, image: str, ref: str, secrets: Callable[[], Awaitable[Sequence[PullSecret]]], *, preloaded: bool = False
    ) -> Verdict:
        """Whether a pod must pull the image `ref` that is here under the name `image`.

        `secrets` are the pod's for that image, asked for only when they matter. `preloaded`: an administrator has put
        it here, whoever pulled it before. What can't be read means a pull. Raises what `secrets` raises.
        """
        try:
            await self._load()
        except OSError as error:
            _log.warning("the records of image pulls can't be read", error=str(error))
            return Verdict(True, "error")
        broken = file_name(ref) in self._records or (ref in self._records and self._records[ref] is None)
        if broken:
            return Verdict(True, "error")
        record = self._records.get(ref)
        pulled = not preloaded and (record is not None or image in self._intents)
        if not self._policy(image, pulled):
            return Verdict(False, "credentialPolicyAllowed")
        access = record.access.get(untagged(image)) if record is not None else None
        found = judge(access, ())
        if found.pull and access is not None and access.secrets:
            found = judge(access, await secrets())
        if found.remember is not None:
            await self._remember(image, ref, Access(secrets=(found.remember,)))
        return found

    async def begin(self, image: str) -> None:
        """Somebody is about to pull the image. Raises OSError: then it must not be pulled."""
        await self._load()
        async with self._one:
            await asyncio.to_thread(self._files.intend, image)
            self._intents[image] = self._intents.get(image, 0) + 1

    async def succeeded(self, image: str, ref: str, used: Credential | None) -> None:
        """The pull gave the image `ref`; `used` are the credentials that the registry took, if any."""
        access = Access(everyone=True)
        if used is not None and used.source is not None:
            access = Access(secrets=(used.source,))
        # Without a record the intent stays: the image was pulled by somebody, nobody knows by whom.
        if await self._remember(image, ref, access):
            self._doubtful.pop(image, None)
            await self.failed(image)

    async def failed(self, image: str) -> None:
        """The pull gave nothing."""
        async with self._one:
            self._intents[image] = max(0, self._intents.get(image, 1) - 1)
            await self._end(image)

    async def given_up(self, image: str) -> None:
        """Nobody waits for the pull any more, which may end well all the same: as after a kill, the intent stays."""
        async with self._one:
            self._intents[image] = max(0, self._intents.get(image, 1) - 1)
            self._doubtful[image] = False

    async def _end(self, image: str) -> None:
        """Remove the intent, unless somebody pulls the image, or somebody may have."""
        if self._intents.get(image) or image in self._doubtful:
            return
        try:
            await asyncio.to_thread(self._files.intend_no_more, image)
        except OSError as error:
            _log.warning("an image pull's intent can't be removed", image=image, error=str(error))
        else:
            self._intents.pop(image, None)

    async def prune(self, images: Collection[str], until: float) -> None:
        """Forget the records of images that are no longer here, unless they were written after `until`."""
        await self._load()
        await self._settle()
        async with self._one:
            for ref, record in list(self._records.items()):
                if record is not None and ref not in images and record.updated_at < until - 1:  # whole seconds
                    try:
                        await asyncio.to_thread(self._files.remove, ref)
                    except OSError as error:
                        _log.warning("a record of an image pull can't be removed", image=ref, error=str(error))
                        continue
                    del self._records[ref]

    async def _remember(self, image: str, ref: str, access: Access | None) -> bool:
        """Whether the record says it now."""
        async with self._one:
            old = self._records.get(ref)
            known = old or Pulled(ref)
            if access is not None:
                before = known.access.get(untagged(image))
                joined = merged(before, access)
                if old is not None and joined == before:
                    return True
                known = replace(known, access={**known.access, untagged(image): joined})
            elif old is not None:
                return True
            known = replace(known, updated=timestamp())
            try:
                await asyncio.to_thread(self._files.write, known)
            except OSError as error:
                _log.warning("an image pull can't be recorded", image=image, error=str(error))
                return False
            self._records[ref] = known
            self._records.pop(file_name(ref), None)
            return True

    async def _load(self) -> None:
        """Read the files, once; pulls that were over when the kubelet was killed become records of nobody."""
        if self._loaded:
            return
        async with self._one:
            if not self._loaded:
                intents, self._records = await asyncio.to_thread(self._files.load)
                self._intents, self._doubtful = dict.fromkeys(intents, 0), dict.fromkeys(intents, False)
                self._loaded = True
        await self._settle()

    async def _settle(self) -> None:
        """What is here by a doubtful pull becomes a record of nobody; what is not, though looked for twice, is let go.

        Twice, because containerd may take a while to hear that a pull was given up.
        """
        if not self._doubtful:
            return
        wanted = {normalize(image): image for image in self._doubtful}
        try:
            images = await self._images()
        except EngineError as error:  # the intents stay: whoever wants such an image pulls it
            _log.info("the images can't be listed", error=str(error))
            return
        here = {wanted[name]: found.id for found in images for name in _names(found) if name in wanted}
        for image in wanted.values():
            looked = self._doubtful.get(image, False)
            if image in here:
                settled = await self._remember(image, here[image], None)
            else:
                settled = looked
            async with self._one:
                if settled:
                    self._doubtful.pop(image, None)
                    await self._end(image)
                elif image in self._doubtful:
                    self._doubtful[image] = True


def _names(image: cri.Image) -> tuple[str, ...]:
    return (*image.repo_tags, *image.repo_digests)
