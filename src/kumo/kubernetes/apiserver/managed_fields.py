"""`managedFields` on the way of a write: who writes, what of it counts, and in which versions others said theirs."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Object
from kumo.api.patch.managers import read_managers
from kumo.api.patch.shapes import Shape, shape_of
from kumo.api.patch.tracking import Tracker
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.registry import Registry, Resource
from kumo.kubernetes.apiserver.reset_fields import reset_fields

_NAME_LIMIT = 128
_OWN_AGENT = "kumo"
_CONTROLLERS = "system:serviceaccount:kube-system:"
Track = Callable[[Object, Object, "list[Object] | None"], "list[Object] | None"]
"""Gives the `managedFields` of a new state: (old, new, those that the write states); None to keep the old ones."""


def manager_of(call: Call) -> str:
    """Who writes: the query's fieldManager, else the client program's name."""
    stated = call.query.get("fieldManager")
    if stated:
        return stated
    agent = call.request.headers.get("user-agent", "").partition("/")[0]
    if agent == _OWN_AGENT or (not agent and call.request.user is not None):
        return _component(call.user)  # A part of kumo; in process it says no name.
    if not agent:
        return "unknown"
    if not agent.isprintable():
        agent = "".join(c for c in agent if c.isprintable())
    return agent if len(agent) <= _NAME_LIMIT else agent.encode()[:_NAME_LIMIT].decode(errors="ignore")


def _component(user: UserInfo) -> str:
    """The name of a part of kumo itself, which sends no program's name: what upstream's is called."""
    if user.name.startswith(_CONTROLLERS):
        return "kube-controller-manager"
    if user.name.startswith("system:node:"):
        return "kubelet"
    if user.name == "system:apiserver":
        return "kube-apiserver"
    return user.name.rpartition(":")[2]


def tracker(core: Core, call: Call, subresource: str | None = None) -> Tracker:
    """How fields are tracked for the call's resource."""
    resource = call.resource
    below = call.info.subresource if subresource is None else subresource

    def seen(obj: Object, version: str) -> tuple[Object, Shape] | None:
        if resource.conversion is not None:
            # Who converts should know which object it is; whose name it is nobody's to manage.
            place = {"name": call.info.name, "namespace": call.namespace}
            obj = {**obj, "metadata": {**obj["metadata"], **{k: v for k, v in place.items() if v}}}
        return view(core.registry, resource, obj, version)

    return Tracker(
        shape_of(resource.schema.root),
        resource.gvk.api_version,
        seen,
        below,
        reset_fields(resource, below),
        resource.custom is not None,
    )


def view(registry: Registry, resource: Resource, obj: Object, version: str) -> tuple[Object, Shape] | None:
    """The resource's object (of the version it names) in another version, and that version's shape.

    None when the resource is not served in one of them.
    """
    source = _served(registry, resource, obj.get("apiVersion") or resource.gvk.api_version)
    target = _served(registry, resource, version)
    if source is None or target is None:
        return None
    if source is not target and source.forms is not None:
        obj = source.forms.seen(obj, target.gvk.version)
    elif source is not target:
        if source.to_stored is not None:
            obj = source.to_stored(obj)
        if target.from_stored is not None:
            obj = target.from_stored(obj)
        obj = {**obj, "apiVersion": version}
    return obj, shape_of(target.schema.root)


def _served(registry: Registry, resource: Resource, version: str) -> Resource | None:
    if version == resource.gvk.api_version:
        return resource
    group, _, name = version.rpartition("/")
    if resource.family is not None:
        return resource.family.get(name) if group == resource.gvk.group else None
    found = registry.find(group, name, resource.type.resource)
    return found if found is not None and found.stored.gvk == resource.stored.gvk else None


def updating(core: Core, call: Call, subresource: str) -> Track:
    """How the fields of an update or patch by the call are booked."""
    found = tracker(core, call, subresource)
    manager = manager_of(call)

    def track(old: Object, new: Object, stated: list[Object] | None) -> list[Object]:
        return found.updated(old, new, manager, stated=stated)

    return track


def created(core: Core, call: Call, obj: Object, stated: list[Object] | None) -> list[Object]:
    """The `managedFields` of a new object."""
    return tracker(core, call, "").updated(None, obj, manager_of(call), stated=stated)


def untracked(old: Object, new: Object, stated: list[Object] | None) -> list[Object] | None:
    """The API server's own change (a binding, say): nobody manages what it sets, the books stay as they are."""
    found: list[Object] | None = old["metadata"].get("managedFields")
    return found


def set_managed(obj: Object, managed: list[Object] | None) -> None:
    """Give the object those `managedFields`."""
    if managed:
        obj["metadata"]["managedFields"] = managed
    else:
        obj["metadata"].pop("managedFields", None)


def admitted(obj: Object, before: list[Object] | None) -> None:
    """Undo what admission did to the `managedFields`, if they can't be read any more."""
    now = obj["metadata"].get("managedFields")
    if now is before or now == before:
        return
    try:
        if now and read_managers(now, check=True):
            return
    except (ValueError, TypeError, AttributeError):
        pass
    set_managed(obj, before)
