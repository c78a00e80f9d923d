"""The CustomResourceDefinitions of KubeVirt: names, versions and printer columns as upstream's."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.kubevirt.common.names import GROUP
from kumo.kubevirt.virt_api.schema import instance, instancetype, machine
from kumo.kubevirt.virt_api.schema.cluster import KUBEVIRT
from kumo.kubevirt.virt_api.schema.types import Schema

_CREATED = ".metadata.creationTimestamp"
_DEPRECATED = "kubevirt.io/v1alpha3 is now deprecated and will be removed in a future release."
_PRESET_DEPRECATED = "VirtualMachineInstancePresets is now deprecated and will be removed in v2."
_STATUS: dict[str, Any] = {"status": {}}


def _column(name: str, path: str, kind: str = "string", description: str = "", priority: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        made["description"] = description
    if priority:
        made["priority"] = priority
    return made


def _condition(name: str, kind: str, priority: int = 0) -> dict[str, Any]:
    return _column(name, f".status.conditions[?(@.type=='{kind}')].status", priority=priority)


_AGE = _column("Age", _CREATED, "date")


def _versions(schema: Schema, columns: list[dict[str, Any]], subresources: dict[str, Any]) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"served": True, "schema": {"openAPIV3Schema": schema}}
    if columns:
        common["additionalPrinterColumns"] = columns
    if subresources:
        common["subresources"] = subresources
    old = {"storage": False, "deprecated": True, "deprecationWarning": _DEPRECATED}
    return [{"name": "v1", "storage": True, **common}, {"name": "v1alpha3", **old, **common}]


def _crd(
    kind: str, short: str, versions: list[dict[str, Any]], *, group: str = GROUP, scope: str = "Namespaced"
) -> Object:
    singular = kind.lower()
    plural = f"{singular}s"
    label = "operator.kubevirt.io" if kind == "KubeVirt" else "app.kubernetes.io/component"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "labels": {label: "" if kind == "KubeVirt" else "kubevirt", "app.kubernetes.io/managed-by": "kumo"},
        },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {
                "plural": plural,
                "singular": singular,
                "kind": kind,
                "listKind": f"{kind}List",
                "shortNames": short.split(),
                "categories": ["all"],
            },
            "conversion": {"strategy": "None"},
            "versions": versions,
        },
    }


def _machine_kinds() -> list[Object]:
    status_column = _column("Status", ".status.printableStatus", description="Human Readable Status")
    scale = {
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.labelSelector",
        }
    }
    counts = [
        _column("Desired", ".spec.replicas", "integer", "Number of desired VirtualMachineInstances"),
        _column(
            "Current",
            ".status.replicas",
            "integer",
            "Number of managed and not final or deleted VirtualMachineInstances",
        ),
        _column(
            "Ready",
            ".status.readyReplicas",
            "integer",
            "Number of managed VirtualMachineInstances which are ready to receive traffic",
        ),
        _AGE,
    ]
    presets = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1alpha3",
            "deprecated": True,
            "deprecationWarning": f"kubevirt.io/{name} {_PRESET_DEPRECATED}",
            "schema": {"openAPIV3Schema": machine.PRESET},
        }
        for name in ("v1", "v1alpha3")
    ]
    machines = _versions(machine.MACHINE, [_AGE, status_column, _condition("Ready", "Ready")], _STATUS)
    return [
        _crd("VirtualMachine", "vm vms", machines),
        _crd(
            "VirtualMachineInstanceReplicaSet",
            "vmirs vmirss",
            _versions(machine.REPLICA_SET, counts, _STATUS | scale),
        ),
        _crd("VirtualMachineInstancePreset", "vmipreset vmipresets", presets),
    ]


def _instance_kinds() -> list[Object]:
    columns = [
        _AGE,
        _column("Phase", ".status.phase"),
        _column("IP", ".status.interfaces[0].ipAddress"),
        _column("NodeName", ".status.nodeName"),
        _condition("Ready", "Ready"),
        _condition("Live-Migratable", "LiveMigratable", 1),
        _condition("Paused", "Paused", 1),
    ]
    migration = [
        _column("Phase", ".status.phase", description="The current phase of VM instance migration"),
        _column("VMI", ".spec.vmiName", description="The name of the VMI to perform the migration on"),
    ]
    return [
        _crd("VirtualMachineInstance", "vmi vmis", _versions(instance.INSTANCE, columns, {})),
        _crd("VirtualMachineInstanceMigration", "vmim vmims", _versions(instance.MIGRATION, migration, _STATUS)),
    ]


def _instancetype_kinds() -> list[Object]:
    kinds = (
        ("VirtualMachineInstancetype", "vminstancetype vminstancetypes vmf vmfs", instancetype.INSTANCETYPE),
        ("VirtualMachineClusterInstancetype", "vmclusterinstancetype vmclusterinstancetypes vmcf vmcfs",
         instancetype.INSTANCETYPE),
        ("VirtualMachinePreference", "vmpref vmprefs vmp vmps", instancetype.PREFERENCE),
        ("VirtualMachineClusterPreference", "vmcp vmcps", instancetype.PREFERENCE),
    )  # fmt: skip
    group = "instancetype.kubevirt.io"
    made = []
    for kind, short, schema in kinds:
        version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        scope = "Cluster" if "Cluster" in kind else "Namespaced"
        made.append(_crd(kind, short, [version], group=group, scope=scope))
    return made


def custom_resource_definitions() -> list[Object]:
    """All of them, in the order in which they are to be made; new dictionaries at each call, parts of them shared."""
    columns = [_AGE, _column("Phase", ".status.phase")]
    kubevirt = _crd("KubeVirt", "kv kvs", _versions(KUBEVIRT, columns, _STATUS))
    return [kubevirt, *_machine_kinds(), *_instance_kinds(), *_instancetype_kinds()]
