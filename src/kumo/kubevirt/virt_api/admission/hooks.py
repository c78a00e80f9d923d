"""The list of virt-api's admission hooks, under the names of upstream's webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.virt_api.admission.instances import InstanceHooks
from kumo.kubevirt.virt_api.admission.machines import MachineHooks
from kumo.kubevirt.virt_api.admission.others import OtherHooks
from kumo.kubevirt.virt_api.admission.review import Decide, reviewer
from kumo.machinery.client import Client
from kumo.machinery.extension import AdmissionHook, Rule

_VERSIONS = ("v1", "v1alpha3")


def admission_hooks(client: Client, config: Callable[[], ClusterConfig]) -> list[AdmissionHook]:
    """All hooks in the order of calling. `client` acts as virt-api; `config` gives the settings."""
    machines, instances, others = MachineHooks(client, config), InstanceHooks(config), OtherHooks(client, config)
    mutating: Literal["mutating"] = "mutating"
    validating: Literal["validating"] = "validating"
    return [
        _hook("virtualmachines-mutator", mutating, "virtualmachines", "CREATE UPDATE", machines.mutate),
        _hook(
            "virtualmachineinstances-mutator", mutating, "virtualmachineinstances", "CREATE UPDATE", instances.mutate
        ),
        _hook("migrations-mutator", mutating, "virtualmachineinstancemigrations", "CREATE", others.mutate_migration),
        _hook(
            "virtualmachineinstances-create-validator",
            validating,
            "virtualmachineinstances",
            "CREATE",
            instances.validate_creation,
        ),
        _hook(
            "virtualmachineinstances-update-validator",
            validating,
            "virtualmachineinstances",
            "UPDATE",
            instances.validate_update,
        ),
        _hook("virtualmachine-validator", validating, "virtualmachines", "CREATE UPDATE", machines.validate),
        _hook(
            "virtualmachinereplicaset-validator",
            validating,
            "virtualmachineinstancereplicasets",
            "CREATE UPDATE",
            others.validate_replica_set,
        ),
        _hook(
            "migration-create-validator",
            validating,
            "virtualmachineinstancemigrations",
            "CREATE",
            others.validate_migration,
        ),
        _hook(
            "migration-update-validator",
            validating,
            "virtualmachineinstancemigrations",
            "UPDATE",
            others.validate_migration_update,
        ),
        AdmissionHook(
            "virt-launcher-eviction-interceptor.kubevirt.io",
            validating,
            (Rule(("",), ("v1",), ("pods/eviction",), ("CREATE",)),),
            reviewer(others.validate_eviction),
        ),
    ]


def _hook(
    name: str, kind: Literal["mutating", "validating"], resource: str, operations: str, decide: Decide
) -> AdmissionHook:
    rule = Rule(("kubevirt.io",), _VERSIONS, (resource,), tuple(operations.split()))
    return AdmissionHook(f"{name}.kubevirt.io", kind, (rule,), reviewer(decide))
