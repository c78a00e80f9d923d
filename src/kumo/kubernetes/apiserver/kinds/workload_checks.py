"""What the kinds that make pods share: defaults and rules of templates, selectors, counters and warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata
from kumo.api.selectors import matches
from kumo.kubernetes.apiserver.kinds.checks import NOT_NEGATIVE, set_default
from kumo.kubernetes.apiserver.kinds.pod import Options, validate_template
from kumo.kubernetes.apiserver.kinds.pod.defaults import default_pod_spec
from kumo.kubernetes.apiserver.kinds.pod.dropping import drop_disabled
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE, options_for
from kumo.kubernetes.apiserver.kinds.pod.warnings import warn_of_template
from kumo.kubernetes.apiserver.kinds.rules import at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_IN_HOSTNAMES = (
    "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended"
)


def default_template(spec: dict[str, Any]) -> None:
    """Set the defaults of `spec.template`, in place."""
    set_default(spec, template={})
    set_default(spec["template"], spec={})
    default_pod_spec(spec["template"]["spec"])


def default_labels(obj: Object, old: Object | None = None) -> None:
    """An object without labels has those of its template; in place."""
    labels = at(obj, "spec.template.metadata.labels")
    if labels and not at(obj, "metadata.labels"):
        metadata(obj)["labels"] = labels  # The same ones: what a job adds to its template's it adds to its own.


def drop_from_template(new: Object, old: Object | None = None, path: str = "spec.template.spec") -> None:
    """Drop fields of features that are off from the template's spec, in place."""
    spec = at(new, path)
    if spec:
        drop_disabled(spec, at(old or {}, path))


def template_options(old: Object | None, path: str = "spec.template.spec") -> Options:
    """How strictly the template of a new state of `old` is judged."""
    return options_for(at(old or {}, path), is_pod=False) if old else TEMPLATE


def check_counts(obj: dict[str, Any], path: str, found: list[Cause], *keys: str) -> None:
    """The numbers under these keys may be missing, but not negative."""
    for key in keys:
        if (obj.get(key) or 0) < 0:
            found.append(fields.invalid(f"{path}.{key}", obj[key], NOT_NEGATIVE))


def check_selector(selector: dict[str, Any] | None, what: str, found: list[Cause]) -> bool:
    """`spec.selector`, which must select something; whether it is so good that labels can be compared with it."""
    if selector is None:
        found.append(fields.required("spec.selector"))
        return True
    found += validate_label_selector("spec.selector", selector)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(fields.invalid("spec.selector", shown(selector), f"empty selector is invalid for {what}"))
    return is_usable(selector)


def shown(selector: dict[str, Any] | None) -> dict[str, Any] | None:
    """A selector with its fields in the order messages show them in."""
    if selector is None:
        return None
    labels, expressions = selector.get("matchLabels"), selector.get("matchExpressions")
    found: dict[str, Any] = {"matchLabels": dict(sorted(labels.items()))} if labels else {}
    return found | ({"matchExpressions": expressions} if expressions else {})


def is_usable(selector: dict[str, Any] | None) -> bool:
    """Whether a selector can be matched against labels at all."""
    if not selector:
        return True
    for item in selector.get("matchExpressions") or ():
        operator, values = item.get("operator"), item.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values or any(names.check_label_value(value) for value in values):
                return False
        elif operator not in ("Exists", "DoesNotExist") or values:
            return False
        if names.check_qualified_name(item.get("key") or ""):
            return False
    return not any(
        names.check_qualified_name(key) or names.check_label_value(value)
        for key, value in (selector.get("matchLabels") or {}).items()
    )


def check_selected(path: str, selector: dict[str, Any] | None, template: dict[str, Any], found: list[Cause]) -> None:
    """The selector must match the labels of its own template; `path` is the template's. None matches nothing."""
    labels = (template.get("metadata") or {}).get("labels")
    if selector is None or (selector and not matches(selector, labels or {})):
        text = "`selector` does not match template `labels`"
        ordered = dict(sorted(labels.items())) if labels else labels
        found.append(fields.invalid(f"{path}.metadata.labels", ordered, text))


def check_always(path: str, template: dict[str, Any], what: str, found: list[Cause]) -> None:
    """Pods that are kept running restart always; `what` names the kind, `path` is the template's."""
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        policy = spec.get("restartPolicy") or ""
        found.append(fields.unsupported(f"{path}.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        text = f"activeDeadlineSeconds in {what} is not Supported"
        found.append(fields.forbidden(f"{path}.spec.activeDeadlineSeconds", text))


def check_kept_pods(spec: dict[str, Any], what: str, options: Options, found: list[Cause], *, selectable: bool) -> None:
    """`spec.template` of a kind that keeps pods running."""
    template = spec.get("template") or {}
    if not selectable:
        found.append(fields.invalid("spec.selector", shown(spec.get("selector")), "invalid label selector"))
        return
    check_selected("spec.template", spec.get("selector"), template, found)
    found += validate_template("spec.template", template, options)
    check_always("spec.template", template, what, found)


def check_not_more(
    status: dict[str, Any], found: list[Cause], of_all: tuple[str, ...], available: str = "readyReplicas"
) -> None:
    """Parts of a status' replicas are no more than all; `available`: how the message names those that are ready."""
    total = status.get("replicas") or 0
    for key in of_all:
        if (status.get(key) or 0) > total:
            found.append(
                fields.invalid(f"status.{key}", status.get(key) or 0, "cannot be greater than status.replicas")
            )
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        text = f"cannot be greater than {available}"
        found.append(fields.invalid("status.availableReplicas", status.get("availableReplicas") or 0, text))


def check_collisions(new: Object, old: Object, found: list[Cause]) -> None:
    """A collision count only grows."""
    before, after = at(old, "status.collisionCount"), at(new, "status.collisionCount")
    if before is not None and (after or 0) < before:
        found.append(fields.invalid("status.collisionCount", after or 0, "cannot be decremented"))


def warn_of_name(obj: Object) -> list[str]:
    """Names that make odd host names."""
    wrong = names.check_label((obj.get("metadata") or {}).get("name") or "")
    return [f"metadata.name: {_IN_HOSTNAMES}: [{' '.join(wrong)}]"] if wrong else []


def template_warner(
    path: str = "spec.template", *, named: bool = False
) -> Callable[[Object, Object | None], list[str]]:
    """Warns of the template at `path`, when it is new or anything in the spec has changed; `named`: of names too."""

    def warn(new: Object, old: Object | None) -> list[str]:
        if old is not None and new.get("spec") == old.get("spec"):
            return []
        told = warn_of_name(new) if named and old is None else []
        return told + warn_of_template(path, at(new, path))

    return warn
