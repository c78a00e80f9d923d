"""Webhook configurations and admission policies."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")


def _default_rules(rules: Any) -> None:
    for rule in rules or ():
        set_default(rule, scope="*")


def _default_webhooks(obj: Object) -> None:
    mutating = obj.get("kind") == "MutatingWebhookConfiguration"
    for hook in obj.get("webhooks") or ():
        set_default(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        set_default(hook, namespaceSelector={}, objectSelector={})
        if mutating:
            set_default(hook, reinvocationPolicy="Never")
        _default_rules(hook.get("rules"))
        service = at(hook, "clientConfig.service")
        if service is not None:
            set_default(service, port=443)


def _validate_webhooks(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        here = f"webhooks[{index}]"
        name = hook.get("name") or ""
        found += _qualified(f"{here}.name", name)
        if name in seen:
            found.append(fields.duplicate(f"{here}.name", name))
        seen.add(name)
        versions = hook.get("admissionReviewVersions") or []
        if not versions:
            detail = "must specify one of v1, v1beta1"
            found.append(fields.required(f"{here}.admissionReviewVersions", detail))
        elif not {"v1", "v1beta1"} & set(versions):
            detail = "must include at least one of v1, v1beta1"
            found.append(fields.invalid(f"{here}.admissionReviewVersions", versions, detail))
        effects = hook.get("sideEffects")
        detail = "must specify one of None, NoneOnDryRun"
        found += choice(f"{here}.sideEffects", effects, _SIDE_EFFECTS, detail=detail)
        found += choice(f"{here}.failurePolicy", hook.get("failurePolicy"), ("Fail", "Ignore"), needed=False)
        found += choice(f"{here}.matchPolicy", hook.get("matchPolicy"), ("Equivalent", "Exact"), needed=False)
        seconds = hook.get("timeoutSeconds")
        if seconds is not None and not 1 <= seconds <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            found.append(fields.invalid(f"{here}.timeoutSeconds", seconds, detail))
        found += _rules(f"{here}.rules", hook.get("rules"))
        found += validate_client_config(f"{here}.clientConfig", hook.get("clientConfig") or {})
    return found


def _qualified(path: str, name: str) -> list[Cause]:
    if not name:
        return [fields.required(path)]
    found = fields.each(path, name, names.check_subdomain(name))
    if not found and name.count(".") < 2:
        found.append(fields.invalid(path, name, "should be a domain with at least three segments separated by dots"))
    return found


def _rules(path: str, rules: Any) -> list[Cause]:
    found: list[Cause] = []
    for index, rule in enumerate(rules or ()):
        here = f"{path}[{index}]"
        for key in ("apiGroups", "apiVersions", "resources", "operations"):
            values = rule.get(key) or []
            if not values:
                found.append(fields.required(f"{here}.{key}"))
            elif "*" in values and len(values) > 1 and key != "resources":
                what = key if key == "operations" else key[0].lower() + key[1:]
                detail = f"if '*' is present, must not specify other {_plural(what)}"
                found.append(fields.invalid(f"{here}.{key}", values, detail))
        for number, operation in enumerate(rule.get("operations") or ()):
            if operation not in _OPERATIONS:
                found.append(fields.unsupported(f"{here}.operations[{number}]", operation, _OPERATIONS))
        found += choice(f"{here}.scope", rule.get("scope"), ("*", "Cluster", "Namespaced"), needed=False)
    return found


def _plural(key: str) -> str:
    return {"apiGroups": "API groups", "apiVersions": "API versions"}.get(key, key)


def validate_client_config(path: str, config: dict[str, Any]) -> list[Cause]:
    """Where a webhook is: either a URL or a service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [fields.required(path, "exactly one of url or service is required")]
    if url is not None:
        if url.startswith("https://"):
            return []
        detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        return [fields.invalid(f"{path}.url", url, detail)]
    return [
        fields.required(f"{path}.service.{key}", f"service {key} is required")
        for key in ("name", "namespace")
        if not (service or {}).get(key)
    ]


def _default_policy(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, failurePolicy="Fail")
    constraints = spec.get("matchConstraints")
    if constraints is not None:
        set_default(constraints, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        _default_rules(constraints.get("resourceRules"))
        _default_rules(constraints.get("excludeResourceRules"))


def _validate_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(fields.required("spec.matchConstraints"))
    elif not constraints.get("resourceRules"):
        found.append(fields.required("spec.matchConstraints.resourceRules"))
    empty = not spec.get("validations") and not spec.get("auditAnnotations")
    if empty and obj.get("kind") == "ValidatingAdmissionPolicy":
        detail = "validations or auditAnnotations must contain at least one item"
        found.append(fields.required("spec.validations", detail))
    for index, item in enumerate(spec.get("validations") or ()):
        if not (item.get("expression") or "").strip():
            found.append(fields.required(f"spec.validations[{index}].expression", "expression is not specified"))
    return found


def _default_binding(obj: Object) -> None:
    resources = at(obj, "spec.matchResources")
    if resources is not None:
        set_default(resources, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        _default_rules(resources.get("resourceRules"))


def _validate_binding(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    if not at(obj, "spec.policyName"):
        found.append(fields.required("spec.policyName"))
    if obj.get("kind") == "ValidatingAdmissionPolicyBinding" and not at(obj, "spec.validationActions"):
        found.append(fields.required("spec.validationActions"))
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def admission(kind: str) -> GVK:
        return GVK("admissionregistration.k8s.io", "v1", kind)

    webhooks = Rules(default=_default_webhooks, validate=_validate_webhooks, has_generation=True)
    binding = Rules(default=_default_binding, validate=_validate_binding, has_generation=True)
    return {
        admission("MutatingWebhookConfiguration"): webhooks,
        admission("ValidatingWebhookConfiguration"): webhooks,
        admission("ValidatingAdmissionPolicy"): Rules(
            default=_default_policy, validate=_validate_policy, has_status=True, has_generation=True
        ),
        admission("MutatingAdmissionPolicy"): Rules(
            default=_default_policy, validate=_validate_policy, has_generation=True
        ),
        admission("ValidatingAdmissionPolicyBinding"): binding,
        admission("MutatingAdmissionPolicyBinding"): binding,
    }
