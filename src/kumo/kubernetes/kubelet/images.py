"""Images for containers: pulled or found as the pull policy says, with upstream's reasons, messages and back-off.

An image that is here is given to those who may use it (`pulls`). Upstream: `pkg/kubelet/images/image_manager.go`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from kumo.api.errors import StatusError
from kumo.api.objects import Object, namespace_of, uid_of
from kumo.api.resources import SECRETS, SERVICEACCOUNTS
from kumo.host.containerd.cri import ImageService
from kumo.host.containerd.images import ImageStore
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.events import NORMAL, WARNING, PodEvents
from kumo.kubernetes.kubelet.pulls.credentials import Credential, PullSecret, lookup
from kumo.kubernetes.kubelet.pulls.ledger import PullLedger
from kumo.kubernetes.kubelet.pulls.puller import Puller, PullFailed, explained
from kumo.kubernetes.kubelet.pulls.verification import Verdict
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.stats.families import size_class
from kumo.kubernetes.kubelet.stats.meter import Meter

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
)
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_NEVER, _ALWAYS, _IF_NOT_PRESENT = "Never", "Always", "IfNotPresent"


class ImageTrouble(Exception):
    """The image is not to be had now. `reason` is that of the waiting state; the text its message."""

    def __init__(self, reason: str, message: str, retry: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry


def default_tag(name: str) -> str:
    """The reference with `:latest` if it has neither tag nor digest. Raises ValueError for what is no reference."""
    if not name:
        raise ValueError("invalid reference format")
    if _REFERENCE.fullmatch(name) is None:
        if _REFERENCE.fullmatch(name.lower()):
            raise ValueError("invalid reference format: repository name must be lowercase")
        raise ValueError("invalid reference format")
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


class ImageManager:
    """Makes sure that images are here. `node_config` is a `config.json` whose credentials all pods may use."""

    def __init__(
        self,
        service: ImageService,
        store: ImageStore,
        references: References,
        events: PodEvents,
        backoff: Backoff,
        puller: Puller,
        ledger: PullLedger,
        node_config: Path,
        meter: Meter,
    ) -> None:
        self._service = service
        self._store = store
        self._references = references
        self._events = events
        self._backoff = backoff
        self._puller = puller
        self._ledger = ledger
        self._node_config = node_config
        self._meter = meter
        self._failures: dict[tuple[str, str], float] = {}
        self._errors: dict[tuple[str, str], str] = {}
        self._granted: dict[str, set[tuple[str, str]]] = {}
        """The images (name and id) that each pod (its uid) was given."""
        self.spent: dict[str, float] = {}
        """Seconds that each pod (its uid) has waited for pulls."""

    async def ensure(self, pod: Object, image: str, policy: str, path: str = "") -> cri.Image:
        """The image, pulled if the policy asks for it. `path` is the fieldPath of the events. Raises ImageTrouble."""
        try:
            name = default_tag(image)
        except ValueError as error:
            text = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {error}'
            self._events.record(pod, WARNING, "InspectFailed", text, path)
            raise ImageTrouble("InvalidImageName", text, 10.0) from error
        policy = policy or (_ALWAYS if name.endswith(":latest") else _IF_NOT_PRESENT)
        try:
            found = await self._service.status(name)
            imported, own = await self._store.marks(name) if found is not None else (False, False)
        except EngineError as error:
            text = f'Failed to inspect image "{image}": {error.wire}'
            self._events.record(pod, WARNING, "InspectFailed", text, path)
            raise ImageTrouble("ImageInspectError", text, 2.0) from error
        # An image that an administrator has put here stands for its name: its registry is not asked for a newer one.
        if found is not None and (policy != _ALWAYS or imported):
            verdict = Verdict(False, "credentialPolicyAllowed")  # kumo's own are in no registry
            if not own:
                verdict = await self._verdict(pod, image, name, found.id, preloaded=imported)
            self._meter.count("kubelet_imagemanager_image_mustpull_checks_total", verdict.result)
            self._tell(policy, "true", str(verdict.pull).lower())
            if not verdict.pull:
                text = f'Container image "{image}" already present on machine and can be accessed by the pod'
                self._events.record(pod, NORMAL, "Pulled", text, path)
                return found
        else:
            self._tell(policy, "unknown" if policy == _ALWAYS else "false", "true" if policy != _NEVER else "unknown")
        if policy == _NEVER:
            # The same for those who may not have it: they are not to learn that it is here.
            text = f'Container image "{image}" is not present with pull policy of Never'
            self._events.record(pod, WARNING, "ErrImageNeverPull", text, path)
            raise ImageTrouble("ErrImageNeverPull", text, 10.0)
        return await self._pull(pod, image, name, path)

    def _tell(self, policy: str, present: str, required: str) -> None:
        self._meter.count("kubelet_image_manager_ensure_image_requests_total", policy.lower(), present, required)

    async def _verdict(self, pod: Object, image: str, name: str, ref: str, *, preloaded: bool) -> Verdict:
        """Whether the pod must pull the image `ref` that is here. Raises ConnectionError, StatusError.

        A pod that was given it before may have it while nobody can say what its secrets are.
        """

        async def secrets() -> Sequence[PullSecret]:
            return [c.source for c in await self.credentials(pod, name) if c.source is not None]

        granted = self._granted.setdefault(uid_of(pod), set())
        try:
            verdict = await self._ledger.verdict(image, ref, secrets, preloaded=preloaded)
        except (StatusError, OSError, TimeoutError):
            if (image, ref) not in granted:
                raise
            return Verdict(False, "error")
        if verdict.pull:
            granted.discard((image, ref))
        else:
            granted.add((image, ref))
        return verdict

    async def _pull(self, pod: Object, image: str, name: str, path: str) -> cri.Image:
        key = (uid_of(pod), image)
        wait = self._backoff.remaining(key, self._failures.get(key, 0.0))
        if wait > 0:
            text = f'Back-off pulling image "{image}"'
            self._events.record(pod, NORMAL, "BackOff", text, path)
            known = self._errors.get(key)
            raise ImageTrouble("ImagePullBackOff", f"{text}: {known}" if known else text, wait)
        credentials = await self.credentials(pod, name, say=True)
        try:
            await self._ledger.begin(image)
        except OSError as error:
            text = f'Failed to record image pull intent for container image "{image}": {error}'
            raise ImageTrouble("ErrImagePull", text, 10.0) from error
        self._events.record(pod, NORMAL, "Pulling", f'Pulling image "{image}"', path)
        began = time.monotonic()
        ended: Callable[[str], Awaitable[None]] | None = self._ledger.failed

        def asking() -> None:
            # From here on nobody knows what the registry and containerd make of it, unless they say so.
            nonlocal ended
            ended = self._ledger.given_up

        try:
            pulled = await self._puller.pull(name, credentials, asking)
            ended = None
            await asyncio.shield(self._ledger.succeeded(image, pulled.ref, pulled.used))
            found = await self._service.status(name)
        except (PullFailed, EngineError) as error:
            if isinstance(error, PullFailed) and not error.doubtful:
                ended = self._ledger.failed
            said = error.wire if isinstance(error, EngineError) else str(error)
            raise self._failed(pod, image, said, path) from error
        finally:
            took = time.monotonic() - began
            self.spent[key[0]] = self.spent.get(key[0], 0.0) + took
            if ended is not None:
                await asyncio.shield(ended(image))
            self.tell_sizes()
        if found is None:
            raise ImageTrouble("ErrImagePull", f'image "{image}" vanished after it was pulled', 1.0)
        self._granted.setdefault(key[0], set()).add((image, found.id))
        self._backoff.forget(key)
        self._errors.pop(key, None)
        text = (
            f'Successfully pulled image "{image}" in {duration(pulled.seconds)} '
            f"({duration(took)} including waiting). Image size: {found.size} bytes."
        )
        self._events.record(pod, NORMAL, "Pulled", text, path)
        self._meter.observe("kubelet_image_pull_duration_seconds", took, size_class(found.size))
        return found

    def _failed(self, pod: Object, image: str, error: str, path: str) -> ImageTrouble:
        """Note a pull that failed; what to say of it."""
        key = (uid_of(pod), image)
        self._events.record(pod, WARNING, "Failed", f'Failed to pull image "{image}": {error}', path)
        reason, message = explained(image, error)
        self._errors[key] = f"{reason}: {message}"
        self._failures[key] = time.time()
        self._backoff.next(key, time.time())
        return ImageTrouble(reason, message, self._backoff.delay(key))

    async def credentials(self, pod: Object, name: str, *, say: bool = False) -> list[Credential]:
        """What the pod's (or its service account's) imagePullSecrets, then the node, say of the image's registry.

        `say`: an event names the secrets that are not there.
        """
        wanted = [s.get("name", "") for s in pod["spec"].get("imagePullSecrets") or ()]
        if not wanted:
            account = pod["spec"].get("serviceAccountName") or "default"
            found = await self._references.get(SERVICEACCOUNTS, namespace_of(pod), account, 60.0)
            wanted = [s.get("name", "") for s in (found or {}).get("imagePullSecrets") or ()]
        secrets = await self._references.get_all(SECRETS, namespace_of(pod), [w for w in wanted if w])
        missing = [w for w in wanted if w and secrets.get(w) is None]
        if missing and say:
            text = (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
                "attempting to pull the image may not succeed."
            )
            self._events.record(pod, WARNING, "FailedToRetrieveImagePullSecret", text)
        node = await asyncio.to_thread(_content, self._node_config)
        return lookup(name, [s for s in secrets.values() if s is not None], node)

    def tell_sizes(self) -> None:
        """Set the gauges that say how many records there are."""
        intents, records = self._ledger.sizes
        self._meter.put("kubelet_imagemanager_ondisk_pullintents", intents)
        self._meter.put("kubelet_imagemanager_ondisk_pulledrecords", records)

    async def prune(self, images: Sequence[str], until: float) -> None:
        """The node has these images (ids) now: records of others, unless newer than `until`, are forgotten."""
        await self._ledger.prune(set(images), until)
        self.tell_sizes()

    def forget_pod(self, uid: str) -> None:
        """The pod is gone."""
        self.spent.pop(uid, None)
        self._granted.pop(uid, None)
        for key in [k for k in self._failures if k[0] == uid]:
            self._backoff.forget(key)
            self._failures.pop(key, None)
            self._errors.pop(key, None)


def duration(seconds: float) -> str:
    """A duration as Go prints it, to the millisecond: `512ms`, `1.234s`, `1m2.5s`."""
    milli = round(seconds * 1000)
    if milli < 1000:
        return f"{milli}ms"
    minutes, rest = divmod(milli, 60000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
