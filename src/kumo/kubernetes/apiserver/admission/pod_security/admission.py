"""The PodSecurity plugin: pods are refused, templates warned of, and new labels checked against the pods there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from kumo.api.errors import Cause, internal, invalid
from kumo.api.objects import Object, controller_of, labels_of, name_of
from kumo.api.resources import PODS
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.admission.pod_security.config import PodSecurityConfig
from kumo.kubernetes.apiserver.admission.pod_security.evaluation import described, evaluate, reasons
from kumo.kubernetes.apiserver.admission.pod_security.policy import PREFIX, LevelVersion, Policy, policy_of
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

TEMPLATES = (
    ("", "replicationcontrollers"),
    ("", "podtemplates"),
    ("apps", "deployments"),
    ("apps", "daemonsets"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
)
"""The resources that pods are made from."""
POD_SUBRESOURCES = ("", "ephemeralcontainers", "resize")
_MOST_PODS = 3000
_LONGEST = 1.0
_SLICE = 50
_Demand = tuple[Policy, tuple[Cause, ...]]


class PodSecurity:
    """Judges pods, templates and namespaces by the Pod Security Standards."""

    def __init__(self, reader: Reader, namespaces: NamespaceTable, config: PodSecurityConfig) -> None:
        self._reader = reader
        self._namespaces = namespaces
        self._config = config
        self._demands: dict[str, tuple[object, _Demand]] = {}

    def _demand(self, namespace: str) -> _Demand | None:
        """What the namespace asks for, worked out once for its labels as they are."""
        facts = self._namespaces.get(namespace)
        if facts is None:
            return None
        known = self._demands.get(namespace)
        if known is not None and known[0] is facts:
            return known[1]
        found = policy_of(facts.labels, self._config.defaults)
        self._demands[namespace] = (facts, found)
        return found

    def _exemption(self, attrs: AdmissionAttributes) -> str:
        if attrs.namespace in self._config.namespaces:
            return "namespace"
        return "user" if attrs.user.name in self._config.usernames else ""

    def validate_pod(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a pod that breaks what its namespace enforces."""
        exempt = self._exemption(attrs)
        if exempt:
            attrs.audit_annotations[f"{PREFIX}exempt"] = exempt
            return
        demand = self._demand(attrs.namespace)
        if demand is None:
            raise internal(f'failed to lookup namespace "{attrs.namespace}"')
        if demand[0].privileged and not demand[1]:
            attrs.audit_annotations[f"{PREFIX}enforce-policy"] = "privileged:latest"
            return
        pod = attrs.object or {}
        if attrs.operation == "UPDATE" and not _matters(pod, attrs.old_object or {}):
            return
        self._evaluate(attrs, demand, pod.get("metadata") or {}, pod.get("spec") or {}, enforce=True)

    def validate_template(self, attrs: AdmissionAttributes) -> None:
        """Warn of a template whose pods would be refused; it is never refused itself."""
        exempt = self._exemption(attrs)
        if exempt:
            attrs.audit_annotations[f"{PREFIX}exempt"] = exempt
            return
        demand = self._demand(attrs.namespace)
        if demand is None or (not demand[1] and demand[0].warn.level == demand[0].audit.level == "privileged"):
            return
        template = _template(attrs)
        if template is not None:
            self._evaluate(attrs, demand, template.get("metadata") or {}, template.get("spec") or {}, enforce=False)

    def _evaluate(self, attrs: AdmissionAttributes, demand: _Demand, meta: Object, spec: Object, enforce: bool) -> None:
        notes = attrs.audit_annotations
        if spec.get("runtimeClassName") in self._config.runtime_classes:
            notes[f"{PREFIX}exempt"] = "runtimeClass"
            return
        policy, faults = demand
        if faults:
            words = [f"{fault.field}: {fault.message}" for fault in faults]
            notes[f"{PREFIX}error"] = f"Failed to parse policy: {_aggregated(words)}"
        refusal = ""
        if enforce:
            notes[f"{PREFIX}enforce-policy"] = str(policy.enforce)
            found = evaluate(policy.enforce, meta, spec)
            if found:
                refusal = f'violates PodSecurity "{policy.enforce}": {described(found)}'
        found = evaluate(policy.audit, meta, spec)
        if found:
            notes[f"{PREFIX}audit-violations"] = f'would violate PodSecurity "{policy.audit}": {described(found)}'
        if refusal:
            raise refused(attrs, refusal)
        found = evaluate(policy.warn, meta, spec)
        if found:
            attrs.warnings.append(f'would violate PodSecurity "{policy.warn}": {described(found)}')

    async def validate_namespace(self, attrs: AdmissionAttributes) -> None:
        """Raise 422 for bad labels; warn of pods that break a stricter `enforce`."""
        namespace = attrs.object or {}
        policy, faults = policy_of(labels_of(namespace), self._config.defaults)
        if attrs.operation == "CREATE":
            if faults:
                raise invalid("", "Namespace", name_of(namespace), faults)
            self._warn_exempt(attrs, policy)
            return
        before, old_faults = policy_of(labels_of(attrs.old_object or {}), self._config.defaults)
        if faults and faults != old_faults:
            raise invalid("", "Namespace", name_of(namespace), faults)
        new, old = policy.enforce, before.enforce
        if new == old or new.level == "privileged" or (new.minor == old.minor and new.strictness <= old.strictness):
            return
        if name_of(namespace) in self._config.namespaces:
            self._warn_exempt(attrs, policy)
            return
        attrs.warnings += await self._breaches(name_of(namespace), new)

    def _warn_exempt(self, attrs: AdmissionAttributes, policy: Policy) -> None:
        name, labels = name_of(attrs.object or {}), labels_of(attrs.object or {})
        if name not in self._config.namespaces or policy.privileged or policy.equivalent(self._config.defaults):
            return
        stated = [
            f"{mode}={wanted}"
            for mode, wanted in policy._asdict().items()
            if wanted.level != "privileged" and {f"{PREFIX}{mode}", f"{PREFIX}{mode}-version"} & set(labels)
        ]
        attrs.warnings.append(
            f'namespace "{name}" is exempt from Pod Security, and the policy ({", ".join(stated)}) will be ignored'
        )

    async def _breaches(self, namespace: str, wanted: LevelVersion) -> list[str]:
        """Which of the namespace's pods break the level, one line for each set of reasons.

        At most 3,000 pods and one second, one pod of each controller first; other requests get their turn between.
        """
        pods = self._prioritized(self._reader.objects(PODS, namespace))
        found: dict[str, list[str]] = {}
        checked, until = 0, time.monotonic() + _LONGEST
        for pod in pods[:_MOST_PODS]:
            findings = evaluate(wanted, pod["metadata"], pod.get("spec") or {})
            if findings:
                found.setdefault(reasons(findings), []).append(name_of(pod))
            checked += 1
            if time.monotonic() > until:
                break
            if checked % _SLICE == 0:
                await asyncio.sleep(0)
        lines = []
        if checked < len(pods):
            lines.append(
                f"new PodSecurity enforce level only checked against the first {checked} of {len(pods)} existing pods"
            )
        if found:
            lines.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{wanted}"'
            )
        return lines + sorted(f"{_group(names)}: {why}" for why, names in found.items())

    def _prioritized(self, pods: list[Object]) -> list[Object]:
        first: list[Object] = []
        rest: list[Object] = []
        seen: set[str] = set()
        for pod in pods:
            if (pod.get("spec") or {}).get("runtimeClassName") in self._config.runtime_classes:
                continue
            owner = controller_of(pod)
            if owner is not None and owner.get("uid") in seen:
                rest.append(pod)
            else:
                first.append(pod)
                seen.update([owner["uid"]] if owner is not None else ())
        return first + rest


def _group(names: Sequence[str]) -> str:
    more = len(names) - 1
    others = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
    return f"{min(names)}{others}"


def _aggregated(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _template(attrs: AdmissionAttributes) -> Object | None:
    """The pod template of an object of one of `TEMPLATES`."""
    obj = attrs.object or {}
    if attrs.gvr.resource == "podtemplates":
        return obj.get("template") or {}
    spec = obj.get("spec") or {}
    if attrs.gvr.resource == "cronjobs":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    found: Object | None = spec.get("template")
    return found


def _matters(new: Object, old: Object) -> bool:
    """Whether an update touches what the checks may see: the containers, and the image of each."""
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    for part in ("containers", "initContainers"):
        ours, theirs = fresh.get(part) or (), stale.get(part) or ()
        if len(ours) != len(theirs):
            return True
        if any(mine.get("image") != other.get("image") for mine, other in zip(ours, theirs, strict=True)):
            return True
    known = {container.get("name"): container for container in stale.get("ephemeralContainers") or ()}
    for container in fresh.get("ephemeralContainers") or ():
        before = known.get(container.get("name"))
        if before is None or before.get("image") != container.get("image"):
            return True
    return False
