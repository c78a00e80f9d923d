"""Where works take place: a cloud, a client that asks again until it is answered, the ledger of pods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVR, NAMESPACES
from kumo.machinery.client import APPLY_PATCH, Client
from support.cloud import Cloud
from support.storm.ledger import Ledger

T = TypeVar("T")
PATIENCE = 90.0


class Site:
    """What a work has at hand. `directory` is on the node; `going` is false once works should come to an end."""

    def __init__(self, cloud: Cloud, client: Client, ledger: Ledger, directory: Path) -> None:
        self.cloud = cloud
        self.client = client
        self.ledger = ledger
        self.directory = directory
        self.going = True
        self.deaths: Callable[[], int] = lambda: 0
        """How often a process was killed through which the API server or the kubelet answered."""
        self.done: dict[str, int] = {}

    def count(self, what: str) -> None:
        """Note that a work has come round once more."""
        self.done[what] = self.done.get(what, 0) + 1

    async def answered(self, ask: Callable[[], Awaitable[T]], *, but: tuple[int, ...] = ()) -> T | None:
        """The answer, however often the server has to be asked; None for a refusal with a code of `but`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await ask()
            except StatusError as error:
                if error.code in but:
                    return None
                if error.code < 500 and error.code not in (409, 429):
                    raise
                last: Exception = error
            except (ConnectionError, OSError, TimeoutError) as error:
                last = error
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer within {PATIENCE} s: {last!r}")
            await asyncio.sleep(0.1)

    async def apply(self, gvr: GVR, obj: Object) -> Object:
        """Make the object, or make it like this."""
        meta = obj["metadata"]
        obj = {"apiVersion": gvr.api_version, **obj}
        made = await self.answered(
            lambda: self.client.patch(
                gvr, meta["name"], obj, meta.get("namespace", ""), kind=APPLY_PATCH, field_manager="storm", force=True
            )
        )
        assert made is not None
        return made

    async def get(self, gvr: GVR, name: str, namespace: str = "") -> Object | None:
        """The object, if there is one."""
        return await self.answered(lambda: self.client.get(gvr, name, namespace), but=(404,))

    async def delete(self, gvr: GVR, name: str, namespace: str = "", **options: Any) -> None:
        """Ask for the object's deletion."""
        await self.answered(lambda: self.client.delete(gvr, name, namespace, **options), but=(404,))

    async def namespace(self, name: str) -> str:
        """A namespace of this name."""
        await self.apply(NAMESPACES, {"kind": "Namespace", "metadata": {"name": name}})
        return name

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str, patience: float = PATIENCE) -> Any:
        """Wait until the condition gives something true; that."""
        deadline, found = time.monotonic() + patience, None
        while time.monotonic() < deadline:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.2)
        raise AssertionError(f"{what} did not happen within {patience:.0f} s")

    async def kubectl(self, *arguments: str, check: bool = True) -> str:
        """What the real kubectl prints, the API server being there or not."""
        done = await asyncio.to_thread(self.cloud.kubectl, *arguments, check=check)
        return done.stdout


def pod_spec(script: str, **fields: Any) -> dict[str, Any]:
    """A pod's spec of one busybox container that runs the script and carries the marks that `audit` looks for.

    The mark is the pod's name, `name` replaces it; other fields are of the container, or of the pod (`pod_...`).
    """
    name = fields.pop("name", "")
    mark: dict[str, Any] = {"name": "STORM_NAME", "value": name}
    if not name:
        mark = {"name": "STORM_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    uid = {"name": "STORM_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    pod = {key.removeprefix("pod_"): fields.pop(key) for key in list(fields) if key.startswith("pod_")}
    container = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        **fields,
    }
    container["env"] = [mark, uid, *fields.get("env", ())]
    return {"containers": [container], "terminationGracePeriodSeconds": 3, **pod}


def by_pod_name(spec: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The spec with the mark `<prefix>/<the pod's name>`: there must be one such process at most."""
    env = spec["containers"][0]["env"]
    env[0] = {"name": "STORM_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    env.insert(1, {"name": "STORM_NAME", "value": f"{prefix}/$(STORM_POD)"})
    return spec
