"""Where the instance type and the preference of a virtual machine are: which collection, which name, which revision."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import CLUSTER_INSTANCETYPES, GVR, INSTANCETYPES
from kumo.kubevirt.common.names import CLUSTER_PREFERENCES, PREFERENCES

GENERATION_LABEL = "instancetype.kubevirt.io/object-generation"
KIND_LABEL = "instancetype.kubevirt.io/object-kind"
NAME_LABEL = "instancetype.kubevirt.io/object-name"
UID_LABEL = "instancetype.kubevirt.io/object-uid"
VERSION_LABEL = "instancetype.kubevirt.io/object-version"

_KINDS = {
    "instancetype": {
        "virtualmachineinstancetype": INSTANCETYPES,
        "virtualmachineinstancetypes": INSTANCETYPES,
        "virtualmachineclusterinstancetype": CLUSTER_INSTANCETYPES,
        "virtualmachineclusterinstancetypes": CLUSTER_INSTANCETYPES,
        "": CLUSTER_INSTANCETYPES,
    },
    "preference": {
        "virtualmachinepreference": PREFERENCES,
        "virtualmachinepreferences": PREFERENCES,
        "virtualmachineclusterpreference": CLUSTER_PREFERENCES,
        "virtualmachineclusterpreferences": CLUSTER_PREFERENCES,
        "": CLUSTER_PREFERENCES,
    },
}
_KIND_NAMES = {
    INSTANCETYPES: "VirtualMachineInstancetype",
    CLUSTER_INSTANCETYPES: "VirtualMachineClusterInstancetype",
    PREFERENCES: "VirtualMachinePreference",
    CLUSTER_PREFERENCES: "VirtualMachineClusterPreference",
}


def collection(which: str, matcher: dict[str, Any]) -> GVR:
    """The collection that a matcher's kind names; `which` is "instancetype" or "preference". Raises ValueError."""
    kind = str(matcher.get("kind") or "")
    found = _KINDS[which].get(kind.lower())
    if found is None:
        word = "Instancetype" if which == "instancetype" else "Preference"
        raise ValueError(f"got unexpected kind in {word}Matcher: {kind}")
    return found


def kind_name(gvr: GVR) -> str:
    """The kind of the objects in one of those collections."""
    return _KIND_NAMES[gvr]


def revision_name(vm: Object, which: str) -> str:
    """The ControllerRevision that holds what this VM was made with, or the empty string."""
    matcher = (vm.get("spec") or {}).get(which) or {}
    if matcher.get("revisionName"):
        return str(matcher["revisionName"])
    reference = (vm.get("status") or {}).get(f"{which}Ref") or {}
    if reference.get("name", matcher.get("name")) != matcher.get("name"):
        return ""
    return str((reference.get("controllerRevisionRef") or {}).get("name") or "")


def revision_spec(revision: Object) -> dict[str, Any]:
    """The spec of the instance type or preference that a ControllerRevision holds."""
    spec: dict[str, Any] = (revision.get("data") or {}).get("spec") or {}
    return spec
