"""Webhook configurations: defaults and validation; admission policies are next door in `admission_policies`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.admission_policies import (
    default_binding,
    default_policy,
    validate_binding,
    validate_mutating_policy,
    validate_policy_status,
    validate_validating_policy,
)
from kumo.kubernetes.apiserver.kinds.admission_rules import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    REINVOCATION_POLICIES,
    default_rules,
    validate_match_conditions,
    validate_rule,
)
from kumo.kubernetes.apiserver.kinds.checks import given, set_default
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_VERSIONS = ("v1", "v1beta1")
_FORM = "; desired format: https://host[/path]"


def _default_webhooks(obj: Object) -> None:
    mutating = obj.get("kind") == "MutatingWebhookConfiguration"
    for hook in obj.get("webhooks") or ():
        set_default(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        set_default(hook, namespaceSelector={}, objectSelector={})
        if mutating:
            set_default(hook, reinvocationPolicy="Never")
        default_rules(hook.get("rules"))
        service = at(hook, "clientConfig.service")
        if service is not None:
            set_default(service, port=443)


def _validate_webhooks(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        here = f"webhooks[{index}]"
        found += _webhook(here, hook)
        found += _review_versions(f"{here}.admissionReviewVersions", hook.get("admissionReviewVersions") or [])
        name = hook.get("name") or ""
        if name and name in seen:
            found.append(fields.duplicate(f"{here}.name", name))
        seen.add(name)
    return found


def _webhook(here: str, hook: dict[str, Any]) -> list[Cause]:
    found = _full_name(f"{here}.name", hook.get("name") or "")
    for index, rule in enumerate(hook.get("rules") or ()):
        found += validate_rule(f"{here}.rules[{index}]", rule)
    found += given(f"{here}.failurePolicy", hook.get("failurePolicy"), FAILURE_POLICIES)
    found += given(f"{here}.matchPolicy", hook.get("matchPolicy"), MATCH_POLICIES)
    effects = hook.get("sideEffects")
    if effects is None:
        found.append(fields.required(f"{here}.sideEffects", "must specify one of None, NoneOnDryRun"))
    elif effects not in _SIDE_EFFECTS:
        found.append(fields.unsupported(f"{here}.sideEffects", effects, _SIDE_EFFECTS))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        found.append(fields.invalid(f"{here}.timeoutSeconds", seconds, why))
    for key in ("namespaceSelector", "objectSelector"):
        found += validate_label_selector(f"{here}.{key}", hook.get(key))
    again = hook.get("reinvocationPolicy")
    found += given(f"{here}.reinvocationPolicy", again, REINVOCATION_POLICIES)
    found += validate_client_config(f"{here}.clientConfig", hook.get("clientConfig") or {})
    return found + validate_match_conditions(f"{here}.matchConditions", hook.get("matchConditions"))


def _full_name(path: str, name: str) -> list[Cause]:
    if not name:
        return [fields.required(path)]
    complaints = names.check_subdomain(name)
    if complaints:
        return [fields.invalid(path, name, ",".join(complaints))]
    if name.count(".") < 2:
        return [fields.invalid(path, name, "should be a domain with at least three segments separated by dots")]
    return []


def _review_versions(path: str, versions: list[str]) -> list[Cause]:
    if not versions:
        return [fields.required(path, "must specify one of v1, v1beta1")]
    found: list[Cause] = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            found.append(fields.invalid(f"{path}[{index}]", version, "duplicate version"))
        else:
            found += fields.each(f"{path}[{index}]", version, names.check_label_1035(version))
    if not any(version in _VERSIONS for version in versions):
        found.append(fields.invalid(path, versions, "must include at least one of v1, v1beta1"))
    return found


def validate_client_config(path: str, config: dict[str, Any]) -> list[Cause]:
    """Where a webhook is: either a URL or a service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [fields.required(path, "exactly one of url or service is required")]
    if url is not None:
        return _url(f"{path}.url", url)
    return _service(f"{path}.service", service or {})


def _url(path: str, text: str) -> list[Cause]:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        return [fields.required(path, f"url must be a valid URL: {error}{_FORM}")]
    found: list[Cause] = []
    if url.scheme != "https":
        found.append(fields.invalid(path, url.scheme, "'https' is the only allowed URL scheme" + _FORM))
    credentials, at_sign, host = url.netloc.rpartition("@")
    if not host:
        found.append(fields.invalid(path, host, "host must be specified" + _FORM))
    if at_sign:
        found.append(fields.invalid(path, credentials, "user information is not permitted in the URL"))
    if url.fragment:
        found.append(fields.invalid(path, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        found.append(fields.invalid(path, url.query, "query parameters are not permitted in the URL"))
    return found


def _service(path: str, service: dict[str, Any]) -> list[Cause]:
    swapped = (("name", "namespace"), ("namespace", "name"))  # Upstream says of one that the other is missing.
    found = [fields.required(f"{path}.{told}") for told, key in swapped if not service.get(key)]
    port = service.get("port", 443)
    if complaints := names.check_port(port):
        found.append(fields.invalid(f"{path}.port", port, "port is not valid: " + ", ".join(complaints)))
    below = service.get("path")
    if not below or below == "/":
        return found
    here = f"{path}.path"
    if below == "//":
        return [*found, fields.invalid(here, below, "segment[0] may not be empty")]
    if not below.startswith("/"):
        found.append(fields.invalid(here, below, "must start with a '/'"))
    for index, step in enumerate(below[1:].removesuffix("/").split("/")):
        if not step:
            found.append(fields.invalid(here, below, f"segment[{index}] may not be empty"))
            continue
        found += [fields.invalid(here, below, f"segment[{index}]: {c}") for c in names.check_subdomain(step)]
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def admission(kind: str) -> GVK:
        return GVK("admissionregistration.k8s.io", "v1", kind)

    plain = Rules(has_generation=True, unconditional_update=False, any_finalizer=True, revalidates=True)
    webhooks = replace(plain, default=_default_webhooks, validate=_validate_webhooks)
    binding = replace(plain, default=default_binding, validate=validate_binding)
    return {
        admission("MutatingWebhookConfiguration"): webhooks,
        admission("ValidatingWebhookConfiguration"): webhooks,
        admission("ValidatingAdmissionPolicy"): replace(
            plain,
            default=default_policy,
            validate=validate_validating_policy,
            validate_status=validate_policy_status,
            has_status=True,
            status_keeps_metadata=True,
        ),
        admission("MutatingAdmissionPolicy"): replace(plain, default=default_policy, validate=validate_mutating_policy),
        admission("ValidatingAdmissionPolicyBinding"): binding,
        admission("MutatingAdmissionPolicyBinding"): binding,
    }
