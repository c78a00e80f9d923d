"""All rules on a VirtualMachine: its run strategy, its template, what it takes instance types and preferences from."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.virt_api.defaults.hotplug import live_memory_problem
from kumo.kubevirt.virt_api.validation.causes import Causes, invalid, not_found, required, unsupported
from kumo.kubevirt.virt_api.validation.instance import metadata_rules, spec_rules

RUN_STRATEGIES = ("Halted", "Manual", "Always", "RerunOnFailure", "Once")


def machine_rules(spec: dict[str, Any], config: ClusterConfig, *, own_component: bool) -> Causes:
    """The rules on a VM's spec, whose template has its instance type and defaults applied."""
    template = spec.get("template")
    if template is None:
        yield required("spec.template", "missing virtual machine template.")
        return
    metadata = template.get("metadata") or {}
    yield from metadata_rules("spec.template.metadata", metadata, config, own_component=own_component)
    yield from spec_rules("spec.template.spec", template.get("spec") or {}, config)
    yield from _data_volume_rules(spec)
    yield from run_strategy_rules(spec, config)
    yield from _live_update_rules(template.get("spec") or {}, config)


def run_strategy_rules(spec: dict[str, Any], config: ClusterConfig) -> Causes:
    """Exactly one of `running` and `runStrategy`, and a strategy that there is."""
    running, strategy = spec.get("running"), spec.get("runStrategy")
    if running is not None and strategy is not None:
        message = "Running and RunStrategy are mutually exclusive."
        yield invalid("spec.running", f"{message} Note that Running is deprecated, please use RunStrategy instead")
    if running is None and strategy is None:
        yield invalid("spec.running", "RunStrategy must be specified")
    if strategy == "WaitAsReceiver":
        if not config.gate("DecentralizedLiveMigration"):
            gate = "DecentralizedLiveMigration feature gate is not enabled in kubevirt resource"
            yield invalid("spec.runStrategy", f"Invalid RunStrategy ({strategy}), {gate}")
    elif strategy is not None and strategy not in RUN_STRATEGIES:
        yield invalid("spec.runStrategy", f"Invalid RunStrategy ({strategy})")


def _data_volume_rules(spec: dict[str, Any]) -> Causes:
    volumes = ((spec.get("template") or {}).get("spec") or {}).get("volumes") or ()
    names = {(v.get("dataVolume") or {}).get("name") for v in volumes}
    names |= {(v.get("persistentVolumeClaim") or {}).get("claimName") for v in volumes}
    for index, template in enumerate(spec.get("dataVolumeTemplates") or ()):
        path = f"spec.dataVolumeTemplate[{index}]"
        name = (template.get("metadata") or {}).get("name")
        if not name:
            yield required(f"{path}.name", "'name' field must not be empty for DataVolumeTemplate entry spec."
                           f"dataVolumeTemplate[{index}].")  # fmt: skip
        elif name not in names:
            message = f"DataVolumeTemplate entry {path} must be referenced in the VMI template's 'volumes' list"
            yield required(path, message)


def _live_update_rules(spec: dict[str, Any], config: ClusterConfig) -> Causes:
    if not config.live_update:
        return
    domain = spec.get("domain") or {}
    cpu, most = domain.get("cpu") or {}, (domain.get("memory") or {}).get("maxGuest")
    if cpu.get("sockets") and cpu.get("maxSockets") and cpu["sockets"] > cpu["maxSockets"]:
        message = "Number of sockets in CPU topology is greater than the maximum sockets allowed"
        yield invalid("spec.template.spec.domain.cpu.sockets", message)
    problem = live_memory_problem(spec, most) if most is not None else ""
    if problem:
        yield invalid("spec.template.spec.domain.memory.guest", problem)


def matcher_causes(vm: Object, old: Object | None) -> list[Cause]:
    """What is wrong with the references to instance type and preference; `old` is the VM before an update."""
    spec = vm.get("spec") or {}
    before = (old or {}).get("spec") or {}
    for which in ("instancetype", "preference"):
        was, now = before.get(which), spec.get(which)
        if was and now and now.get("revisionName"):
            renamed = was.get("name", "") != now.get("name", "")
            if renamed and was.get("revisionName") == now.get("revisionName"):
                message = "the Matcher Name has been updated without updating the RevisionName"
                return [invalid(f"spec.{which}.revisionName", message)]
    for which in ("instancetype", "preference"):
        found = list(_matcher_rules(which, spec.get(which)))
        if found:
            return found
    return []


def _matcher_rules(which: str, matcher: dict[str, Any] | None) -> Causes:
    if matcher is None:
        return
    inferred = matcher.get("inferFromVolume")
    if not matcher.get("name") and not inferred:
        word = f"{which.capitalize()}Matcher"
        yield not_found(f"spec.{which}", f"Either Name or InferFromVolume should be provided within the {word}")
    for part in ("name", "kind"):
        if inferred and matcher.get(part):
            message = f"{part.capitalize()} already set, should be cleared before setting inferFromVolume"
            yield unsupported(f"spec.{which}.{part}", message)
    policy = matcher.get("inferFromVolumeFailurePolicy")
    if policy is not None and policy not in ("Ignore", "Reject"):
        path = f"spec.{which}.inferFromVolumeFailurePolicy"
        yield invalid(path, f"Invalid value '{policy}' for InferFromVolumeFailurePolicy")
