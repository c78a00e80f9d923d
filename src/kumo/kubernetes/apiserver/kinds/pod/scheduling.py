"""Where a pod may run: affinity, tolerations, topology spread, gates."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.options import Options
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector, validate_requirement

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES = ("Honor", "Ignore")
_WEIGHT = "must be in the range 1-100"


def validate_tolerations(path: str, tolerations: Any, options: Options, found: list[Cause]) -> None:
    """A pod's tolerations."""
    for index, item in enumerate(tolerations):
        here = f"{path}[{index}]"
        key, operator, value = item.get("key") or "", item.get("operator") or "", item.get("value") or ""
        effect = item.get("effect") or ""
        if key:
            found += fields.each(f"{here}.key", key, names.check_qualified_name(key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(fields.invalid(f"{here}.operator", operator, detail))
        if item.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(fields.invalid(f"{here}.effect", effect, detail))
        if operator in ("", "Equal"):
            if value and (wrong := names.check_label_value(value)):
                found.append(fields.invalid(f"{here}.operator", value, ";".join(wrong)))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                found.append(fields.invalid(f"{here}.operator", value, detail))
        elif operator in ("Lt", "Gt"):
            _comparison(here, operator, value, options, found)
        else:
            found.append(fields.unsupported(f"{here}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in _EFFECTS:
            found.append(fields.unsupported(f"{here}.effect", effect, _EFFECTS))


def _comparison(path: str, operator: str, value: str, options: Options, found: list[Cause]) -> None:
    if not options.comparing:
        found.append(fields.unsupported(f"{path}.operator", operator, ("Equal", "Exists", "Lt", "Gt")))
    elif not re.fullmatch("0|-?[1-9][0-9]*", value):
        detail = "must be a valid decimal integer in canonical form" if value else "must be non-empty"
        found.append(fields.invalid(f"{path}.value", value, detail))


def validate_affinity(path: str, affinity: dict[str, Any], found: list[Cause]) -> None:
    """A pod's affinity."""
    node = affinity.get("nodeAffinity")
    if node is not None:
        here = f"{path}.nodeAffinity"
        if node.get(_REQUIRED) is not None:
            found += validate_node_selector(f"{here}.{_REQUIRED}", node[_REQUIRED])
        for index, item in enumerate(node.get(_PREFERRED) or ()):
            below = f"{here}.{_PREFERRED}[{index}]"
            _weight(below, item, found)
            found += _node_term(f"{below}.preference", item.get("preference") or {}, values_too=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind)
        if terms is None:
            continue
        for index, term in enumerate(terms.get(_REQUIRED) or ()):
            _pod_term(f"{path}.{kind}.{_REQUIRED}[{index}]", term, found)
        for index, item in enumerate(terms.get(_PREFERRED) or ()):
            below = f"{path}.{kind}.{_PREFERRED}[{index}]"
            _weight(below, item, found)
            _pod_term(f"{below}.podAffinityTerm", item.get("podAffinityTerm") or {}, found)


def _weight(path: str, item: dict[str, Any], found: list[Cause]) -> None:
    weight = item.get("weight") or 0
    if not 1 <= weight <= 100:
        found.append(fields.invalid(f"{path}.weight", weight, _WEIGHT))


def validate_node_selector(path: str, selector: dict[str, Any]) -> list[Cause]:
    """A `NodeSelector`: terms, of which one must hold."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [fields.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    found: list[Cause] = []
    for index, term in enumerate(terms):
        found += _node_term(f"{path}.nodeSelectorTerms[{index}]", term, values_too=True)
    return found


def _node_term(path: str, term: dict[str, Any], *, values_too: bool) -> list[Cause]:
    found: list[Cause] = []
    for index, item in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        found += validate_requirement(here, item, numbers=True, values_too=values_too)
    for index, item in enumerate(term.get("matchFields") or ()):
        _node_field(f"{path}.matchFields[{index}]", item, found)
    return found


def _node_field(path: str, item: dict[str, Any], found: list[Cause]) -> None:
    operator, values, key = item.get("operator") or "", item.get("values") or (), item.get("key") or ""
    if operator not in ("In", "NotIn"):
        found.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        found.append(fields.required(f"{path}.values", detail))
    if key != "metadata.name":
        found.append(fields.invalid(f"{path}.key", key, "not a valid field selector key"))
        return
    for index, value in enumerate(values):
        found += fields.each(f"{path}.values[{index}]", value, names.check_subdomain(value))


def _pod_term(path: str, term: dict[str, Any], found: list[Cause]) -> None:
    found += validate_label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    found += validate_label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for namespace in term.get("namespaces") or ():
        found += fields.each(f"{path}.namespace", namespace, names.check_label(namespace))
    _label_keys(path, term, found)
    key = term.get("topologyKey") or ""
    if not key:
        found.append(fields.required(f"{path}.topologyKey", "can not be empty"))
    found += fields.each(f"{path}.topologyKey", key, names.check_qualified_name(key))


def _label_keys(path: str, term: dict[str, Any], found: list[Cause]) -> None:
    """`matchLabelKeys` and `mismatchLabelKeys`, which are merged into the selector when the pod is made."""
    wanted, unwanted = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    if not wanted and not unwanted:
        return
    selector = term.get("labelSelector")
    for name, keys in (("matchLabelKeys", wanted), ("mismatchLabelKeys", unwanted)):
        if keys and selector is None:
            found.append(fields.forbidden(f"{path}.{name}", "must not be specified when labelSelector is not set"))
            continue
        for index, key in enumerate(keys):
            found += fields.each(f"{path}.{name}[{index}]", key, names.check_qualified_name(key))
    if selector is not None:
        places = {key: index for index, key in enumerate(wanted)}
        seen = set(selector.get("matchLabels") or ())
        for item in selector.get("matchExpressions") or ():
            key = item.get("key") or ""
            if key in places and key in seen:
                detail = "exists in both matchLabelKeys and labelSelector"
                found.append(fields.invalid(f"{path}[{places[key]}]", key, detail))
            seen.add(key)
    for index, key in enumerate(wanted):
        if key in unwanted:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(fields.invalid(f"{path}.matchLabelKeys[{index}]", key, detail))


def merge_label_keys(spec: dict[str, Any], labels: dict[str, str]) -> None:
    """Put what `matchLabelKeys` and `mismatchLabelKeys` stand for into their selectors, in place (new pods)."""
    affinity = spec.get("affinity") or {}
    terms: list[dict[str, Any]] = list(spec.get("topologySpreadConstraints") or ())
    for kind in ("podAffinity", "podAntiAffinity"):
        parts = affinity.get(kind) or {}
        terms += parts.get(_REQUIRED) or ()
        terms += [item["podAffinityTerm"] for item in parts.get(_PREFERRED) or () if item.get("podAffinityTerm")]
    for term in terms:
        if term.get("labelSelector") is None:
            continue
        for name, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            more = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for key in term.get(name) or ()
                if key in labels
            ]
            if more:
                selector = term["labelSelector"]
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *more]


def validate_spread(path: str, constraints: Any, found: list[Cause]) -> None:
    """A pod's topology spread constraints."""
    for index, item in enumerate(constraints):
        here = f"{path}[{index}]"
        skew, key, action = item.get("maxSkew") or 0, item.get("topologyKey") or "", item.get("whenUnsatisfiable") or ""
        if skew <= 0:
            found.append(fields.invalid(f"{here}.maxSkew", skew, "must be greater than zero"))
        if not key:
            found.append(fields.required(f"{here}.topologyKey", "can not be empty"))
        if action not in _ACTIONS:
            found.append(fields.unsupported(f"{here}.whenUnsatisfiable", action, _ACTIONS))
        for other in constraints[index + 1 :]:
            if (other.get("topologyKey") or "", other.get("whenUnsatisfiable") or "") == (key, action):
                found.append(fields.duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
                break
        domains = item.get("minDomains")
        if domains is not None:
            if domains <= 0:
                found.append(fields.invalid(f"{here}.minDomains", domains, "must be greater than zero"))
            if action != "DoNotSchedule":
                detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                found.append(fields.invalid(f"{here}.minDomains", domains, detail))
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if item.get(policy) is not None and item[policy] not in _POLICIES:
                found.append(fields.unsupported(f"{here}.{policy}", item[policy], _POLICIES))
        _label_keys(here, item, found)
        found += validate_label_selector(f"{here}.labelSelector", item.get("labelSelector"))


def validate_gates(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    """Readiness gates and scheduling gates; `path` is the spec's."""
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        found += fields.each(f"{path}.readinessGates[{index}].conditionType", kind, names.check_qualified_name(kind))
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name, here = gate.get("name") or "", f"{path}.schedulingGates[{index}]"
        found += fields.each(here, name, names.check_qualified_name(name))
        if name in seen:
            found.append(fields.duplicate(here, name))
        seen.add(name)
