"""The shell of the attach/detach controller."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import structlog

from kumo.api.csi_names import attachment_name
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Key, Object, name_of, namespace_of
from kumo.api.resources import GVR, NODES, PODS, core
from kumo.kubernetes.controller_manager.attach_detach import decision, volumes
from kumo.kubernetes.controller_manager.attach_detach.decision import NodeWorld, Plan, Wanted
from kumo.kubernetes.controller_manager.volume_protection.usage import claims_of
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", False)
_INDEX = "attach-detach"
_REMEMBERED = 4096
_log = structlog.get_logger("kumo.attach-detach")


class AttachDetachController:
    """Attaches and detaches, node by node and one at a time, so that no two nodes race for a volume."""

    name = "attachdetach-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "attachdetach-controller")
        self._pods, self._nodes = informers.informer(PODS), informers.informer(NODES)
        self._claims, self._volumes = informers.informer(CLAIMS), informers.informer(VOLUMES)
        self._attachments, self._drivers = informers.informer(ATTACHMENTS), informers.informer(DRIVERS)
        self._pods.add_index(_INDEX, _pod_index)
        self._attachments.add_index(_INDEX, _attachment_index)
        self._made: dict[str, Object] = {}
        """Attachments that were made and are not seen by the informer yet, by name."""
        self._names: dict[str, str] = {}
        """Unique names of volumes by the names of their attachments, also when the volume is gone."""
        self._in_use: dict[str, frozenset[str]] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._blocked: dict[str, set[str]] = {}
        self._said: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._nodes, self._of_node)
        self._controller.watch(self._pods, lambda pod: _node_key(pod) if any(claims_of(pod)) else ())
        self._controller.watch(self._attachments, self._of_attachment)
        self._controller.watch(self._claims, self._of_claim)
        self._controller.watch(self._volumes, self._of_volume)
        self._controller.watch(self._drivers, lambda _: [Key("", name_of(n)) for n in self._nodes.objects()])

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    # -- what a change is of interest to ------------------------------------------------------------------------------

    def _of_node(self, node: Object) -> Iterable[Key]:
        self._in_use[name_of(node)] = frozenset((node.get("status") or {}).get("volumesInUse") or ())
        yield Key("", name_of(node))

    def _of_attachment(self, attachment: Object) -> Iterable[Key]:
        self._made.pop(name_of(attachment), None)
        yield from _node_key(attachment)
        unique = self._unique(attachment)
        yield from (Key("", node) for node in self._blocked.pop(unique, ()))
        if self._attachments.get(name_of(attachment)) is None:
            self._names.pop(name_of(attachment), None)

    def _of_claim(self, claim: Object) -> Iterable[Key]:
        for pod in self._pods.by_index(_INDEX, f"claim/{namespace_of(claim)}/{name_of(claim)}"):
            yield from _node_key(pod)

    def _of_volume(self, volume: Object) -> Iterable[Key]:
        if volumes.csi_source(volume) is None:
            return
        ref = (volume.get("spec") or {}).get("claimRef") or {}
        for pod in self._pods.by_index(_INDEX, f"claim/{ref.get('namespace')}/{ref.get('name')}"):
            yield from _node_key(pod)
        for attachment in self._attachments.by_index(_INDEX, f"volume/{name_of(volume)}"):
            yield from _node_key(attachment)

    # -- the world ----------------------------------------------------------------------------------------------------

    def _unique(self, attachment: Object) -> str:
        """The volume of an attachment that this controller made; empty for any other."""
        name = name_of(attachment)
        if name in self._names:
            return self._names[name]
        spec = attachment.get("spec") or {}
        node = spec.get("nodeName") or ""
        volume = self._volumes.get((spec.get("source") or {}).get("persistentVolumeName") or "")
        known = volumes.attached_names(self._nodes.get(node)) + ([volumes.unique_name(volume)] if volume else [])
        found = volumes.names_by_attachment(known, node).get(name, "")
        if found:
            self._names[name] = found
        return found

    def _on_node(self, node: str) -> dict[str, Object]:
        seen = self._attachments.by_index(_INDEX, f"node/{node}")
        fresh = [a for a in self._made.values() if a["spec"]["nodeName"] == node]
        return {unique: a for a in [*fresh, *seen] if (unique := self._unique(a))}

    def _wanted(self, node: str) -> dict[str, Wanted]:
        found: dict[str, tuple[Object, list[Object]]] = {}
        for pod in self._pods.by_index(_INDEX, f"node/{node}"):
            if volumes.is_terminated(pod):
                continue
            for volume in volumes.volumes_of(pod, self._claims.get, self._volumes.get, self._drivers.get):
                users = found.setdefault(volumes.unique_name(volume), (volume, []))[1]
                if pod not in users:
                    users.append(pod)
        return {unique: Wanted(volume, pods) for unique, (volume, pods) in found.items()}

    def _elsewhere(self, node: str, wanted: dict[str, Wanted]) -> dict[str, Sequence[Object]]:
        """For the volumes that other nodes have, the pods that use them there."""
        found: dict[str, Sequence[Object]] = {}
        for unique, wish in wanted.items():
            seen = self._attachments.by_index(_INDEX, f"volume/{name_of(wish.volume)}")
            held = {a["spec"]["nodeName"] for a in [*seen, *self._made.values()] if self._unique(a) == unique}
            held.discard(node)
            if held:
                ref = (wish.volume.get("spec") or {}).get("claimRef") or {}
                users = self._pods.by_index(_INDEX, f"claim/{ref.get('namespace')}/{ref.get('name')}")
                there = [p for p in users if p["spec"].get("nodeName") in held and not volumes.is_terminated(p)]
                found[unique] = sorted(there, key=name_of)
        return found

    # -- making it so -------------------------------------------------------------------------------------------------

    async def _reconcile(self, key: Key) -> float | None:
        node = self._nodes.get(key.name)
        attachments = self._on_node(key.name)
        managed = node is not None and volumes.is_managed(node)
        if not managed and not attachments:
            if node is None:
                self._in_use.pop(key.name, None)
            return None
        wanted = self._wanted(key.name) if managed else {}
        world = NodeWorld(
            name=key.name,
            node=node,
            wanted=wanted,
            attachments=attachments,
            elsewhere=self._elsewhere(key.name, wanted),
            # Of a node that was never seen the worst is assumed.
            in_use=self._in_use.get(key.name, frozenset(attachments)),
            asked={unique: at for (name, unique), at in self._asked.items() if name == key.name},
            now=time.time(),
        )
        plan = decision.decide(world)
        self._note(world, plan)
        if node is not None and managed:
            await self._report(node, plan.report)
        for unique in plan.detach:
            await self._detach(world, unique, forced=unique in plan.forced)
        for unique in plan.attach:
            await self._attach(key.name, unique, wanted[unique].volume)
        for event in plan.events:
            if event.once not in self._said:
                self._recorder.event(event.pod, event.kind, event.reason, event.message)
                self._say(event.once)
        return plan.again

    def _say(self, what: tuple[str, ...]) -> None:
        self._said[what] = None
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)

    def _note(self, world: NodeWorld, plan: Plan) -> None:
        """Remember since when volumes are to be detached, and who waits for what."""
        for unique in plan.waiting:
            self._asked.setdefault((world.name, unique), world.now)
        for pair in [p for p in self._asked if p[0] == world.name and p[1] not in plan.waiting]:
            del self._asked[pair]
        for unique in plan.blocked:
            self._blocked.setdefault(unique, set()).add(world.name)

    async def _report(self, node: Object, names: Sequence[str]) -> None:
        """Say in the Node's status what is attached, before anything is detached."""
        if volumes.attached_names(node) == list(names):
            return
        listed = [{"name": name, "devicePath": ""} for name in names] or None
        try:
            patch = {"status": {"volumesAttached": listed}}
            await self._client.patch(NODES, name_of(node), patch, subresource="status")
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _attach(self, node: str, unique: str, volume: Object) -> None:
        source = volume["spec"]["csi"]
        name = attachment_name(source["driver"], source["volumeHandle"], node)
        wanted = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": name},
            "spec": {
                "attacher": source["driver"],
                "nodeName": node,
                "source": {"persistentVolumeName": name_of(volume)},
            },
        }
        self._names[name] = unique
        try:
            made = await self._client.create(ATTACHMENTS, wanted)
        except StatusError as error:
            if not is_already_exists(error):
                raise
            return
        if self._attachments.get(name) is None:
            self._made[name] = made
        _log.info("attaching", volume=name_of(volume), node=node, attachment=name)

    async def _detach(self, world: NodeWorld, unique: str, *, forced: bool) -> None:
        if not forced and world.node is not None and await self._is_in_use(world.name, unique):
            return
        name = name_of(world.attachments[unique])
        if forced:
            _log.warning("detaching by force", volume=unique, node=world.name, attachment=name)
        try:
            await self._client.delete(ATTACHMENTS, name)
        except StatusError as error:
            if not is_not_found(error):
                raise
        self._made.pop(name, None)

    async def _is_in_use(self, node: str, unique: str) -> bool:
        """What the Node says now: it may have mounted the volume since the informer was told."""
        try:
            fresh = await self._client.get(NODES, node)
        except StatusError as error:
            if is_not_found(error):
                return False
            raise
        return unique in ((fresh.get("status") or {}).get("volumesInUse") or ())


def _node_key(obj: Object) -> list[Key]:
    node = (obj.get("spec") or {}).get("nodeName")
    return [Key("", node)] if node else []


def _pod_index(pod: Object) -> Iterable[str]:
    names = list(claims_of(pod))
    node = (pod.get("spec") or {}).get("nodeName")
    if not names or not node:
        return
    yield f"node/{node}"
    yield from (f"claim/{namespace_of(pod)}/{name}" for name in names)


def _attachment_index(attachment: Object) -> Iterable[str]:
    spec = attachment.get("spec") or {}
    yield f"node/{spec.get('nodeName')}"
    yield f"volume/{(spec.get('source') or {}).get('persistentVolumeName')}"
