"""Images for containers: pulled or found as the pull policy says, with upstream's reasons, messages and back-off.

Upstream: `pkg/kubelet/images/image_manager.go` and `pkg/credentialprovider`.
"""

from __future__ import annotations

import base64
import fnmatch
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from kumo.api.objects import Object, namespace_of, uid_of
from kumo.api.resources import SECRETS, SERVICEACCOUNTS
from kumo.host.containerd.cri import ImageService
from kumo.host.containerd.images import ImageStore, normalize
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.events import NORMAL, WARNING, PodEvents
from kumo.kubernetes.kubelet.references import References

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
)
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


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
    """Makes sure that images are here. Pulls of the same image by several pods are containerd's to merge."""

    def __init__(
        self, service: ImageService, store: ImageStore, references: References, events: PodEvents, backoff: Backoff
    ) -> None:
        self._service = service
        self._store = store
        self._references = references
        self._events = events
        self._backoff = backoff
        self._failures: dict[tuple[str, str], float] = {}
        self._errors: dict[tuple[str, str], str] = {}

    async def ensure(self, pod: Object, image: str, policy: str, path: str = "") -> cri.Image:
        """The image, pulled if the policy asks for it. `path` is the fieldPath of the events. Raises ImageTrouble."""
        try:
            name = default_tag(image)
        except ValueError as error:
            text = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {error}'
            self._events.record(pod, WARNING, "InspectFailed", text, path)
            raise ImageTrouble("InvalidImageName", text, 10.0) from error
        policy = policy or ("Always" if name.endswith(":latest") else "IfNotPresent")
        try:
            found = await self._service.status(name)
        except EngineError as error:
            text = f'Failed to inspect image "{image}": {error.wire}'
            self._events.record(pod, WARNING, "InspectFailed", text, path)
            raise ImageTrouble("ImageInspectError", text, 2.0) from error
        if found is not None and (policy != "Always" or await self._store.is_imported(name)):
            text = f'Container image "{image}" already present on machine and can be accessed by the pod'
            self._events.record(pod, NORMAL, "Pulled", text, path)
            return found
        if policy == "Never":
            text = f'Container image "{image}" is not present with pull policy of Never'
            self._events.record(pod, WARNING, "ErrImageNeverPull", text, path)
            raise ImageTrouble("ErrImageNeverPull", text, 10.0)
        return await self._pull(pod, image, name, path)

    async def _pull(self, pod: Object, image: str, name: str, path: str) -> cri.Image:
        key = (uid_of(pod), image)
        since = self._failures.get(key, 0.0)
        wait = self._backoff.remaining(key, since)
        if wait > 0:
            text = f'Back-off pulling image "{image}"'
            self._events.record(pod, NORMAL, "BackOff", text, path)
            known = self._errors.get(key)
            raise ImageTrouble("ImagePullBackOff", f"{text}: ErrImagePull: {known}" if known else text, wait)
        self._events.record(pod, NORMAL, "Pulling", f'Pulling image "{image}"', path)
        began = time.monotonic()
        try:
            await self._pull_with_credentials(pod, name)
            found = await self._service.status(name)
        except EngineError as error:
            self._events.record(pod, WARNING, "Failed", f'Failed to pull image "{image}": {error.wire}', path)
            self._errors[key] = error.wire
            self._failures[key] = time.time()
            self._backoff.next(key, time.time())
            raise ImageTrouble("ErrImagePull", error.wire, self._backoff.delay(key)) from error
        if found is None:
            raise ImageTrouble("ErrImagePull", f'image "{image}" vanished after it was pulled', 1.0)
        self._backoff.forget(key)
        self._errors.pop(key, None)
        took = duration(time.monotonic() - began)
        text = (
            f'Successfully pulled image "{image}" in {took} ({took} including waiting). Image size: {found.size} bytes.'
        )
        self._events.record(pod, NORMAL, "Pulled", text, path)
        return found

    async def _pull_with_credentials(self, pod: Object, name: str) -> None:
        candidates = await self.credentials(pod, name)
        if not candidates:
            await self._service.pull(name)
            return
        failure: EngineError | None = None
        for auth in candidates:
            try:
                await self._service.pull(name, auth)
                return
            except EngineError as error:
                failure = error
        assert failure is not None
        raise failure

    async def credentials(self, pod: Object, name: str) -> list[cri.AuthConfig]:
        """What the pod's (or its service account's) imagePullSecrets say of the image's registry."""
        wanted = [s.get("name", "") for s in pod["spec"].get("imagePullSecrets") or ()]
        if not wanted:
            account = pod["spec"].get("serviceAccountName") or "default"
            found = await self._references.get(SERVICEACCOUNTS, namespace_of(pod), account, 60.0)
            wanted = [s.get("name", "") for s in (found or {}).get("imagePullSecrets") or ()]
        secrets = await self._references.get_all(SECRETS, namespace_of(pod), [w for w in wanted if w])
        made = []
        for secret in secrets.values():
            for host, entry in _registries(secret).items():
                if matches(host, name):
                    made.append(_auth(entry))
        return made

    def forget_pod(self, uid: str) -> None:
        """The pod is gone."""
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


def _registries(secret: Object | None) -> Mapping[str, Any]:
    data = (secret or {}).get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            found = msgspec.json.decode(base64.b64decode(data[".dockerconfigjson"]))
            return dict(found.get("auths") or {})
        if ".dockercfg" in data:
            return dict(msgspec.json.decode(base64.b64decode(data[".dockercfg"])))
    except (ValueError, AttributeError, TypeError):
        return {}
    return {}


def matches(host: str, image: str) -> bool:
    """Whether a registry entry (`quay.io`, `https://index.docker.io/v1/`, `*.example.com/team`) is for the image."""
    entry = re.sub(r"^https?://", "", host).rstrip("/")
    entry = re.sub(r"/v[12]$", "", entry)
    name = normalize(image)
    domain, _, path = name.partition("/")
    wanted, _, prefix = entry.partition("/")
    if wanted in ("index.docker.io", "registry-1.docker.io"):
        wanted = "docker.io"
    parts, globs = domain.split("."), wanted.split(".")
    if len(parts) != len(globs) or not all(_glob(g, p) for g, p in zip(globs, parts)):
        return False
    return not prefix or path == prefix or path.startswith((prefix + "/", prefix + ":"))


def _glob(pattern: str, text: str) -> bool:
    return fnmatch.fnmatchcase(text, pattern)


def _auth(entry: Mapping[str, Any]) -> cri.AuthConfig:
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth") and not user:
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except ValueError:
            user = password = ""
    return cri.AuthConfig(
        username=user,
        password=password,
        identity_token=entry.get("identitytoken") or "",
        registry_token=entry.get("registrytoken") or "",
    )
