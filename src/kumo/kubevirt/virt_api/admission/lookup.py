"""Reading the instance type and the preference that a VM refers to."""

from __future__ import annotations

from typing import Any, NamedTuple

from kumo.api.objects import Object, namespace_of
from kumo.api.resources import CONTROLLERREVISIONS
from kumo.kubevirt.common.instancetypes.find import collection, revision_name, revision_spec
from kumo.machinery.client import Client


class Found(NamedTuple):
    """The specs of the instance type and the preference, None where the VM names none."""

    instancetype: dict[str, Any] | None
    preference: dict[str, Any] | None


async def find_spec(client: Client, vm: Object, which: str, namespace: str = "") -> dict[str, Any] | None:
    """The spec of what `which` ("instancetype" or "preference") names; None if the VM names none.

    Raises ValueError for an unknown kind and StatusError when the object is not there.
    """
    matcher = (vm.get("spec") or {}).get(which)
    if not matcher:
        return None
    namespace = namespace or namespace_of(vm)
    revision = revision_name(vm, which)
    if revision:
        return revision_spec(await client.get(CONTROLLERREVISIONS, revision, namespace))
    gvr = collection(which, matcher)
    found = await client.get(gvr, matcher.get("name", ""), namespace if gvr.namespaced else "")
    spec: dict[str, Any] = found.get("spec") or {}
    return spec


async def find_both(client: Client, vm: Object, namespace: str = "") -> Found:
    """Both specs. Raises as `find_spec` does."""
    return Found(
        await find_spec(client, vm, "instancetype", namespace),
        await find_spec(client, vm, "preference", namespace),
    )
