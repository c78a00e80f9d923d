"""The selectors of webhooks and admission policies: by the labels of the object, and of its namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.errors import not_found
from kumo.api.objects import Object, labels_of
from kumo.api.resources import NAMESPACES
from kumo.api.selectors import matches
from kumo.kubernetes.apiserver.admission.matching import namespace_of
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

LabelSelector = Mapping[str, Any]


def compact(selector: LabelSelector | None) -> LabelSelector | None:
    """The selector, or None when it selects everything."""
    if selector and (selector.get("matchLabels") or selector.get("matchExpressions")):
        return selector
    return None


def object_matches(selector: LabelSelector | None, attrs: AdmissionAttributes) -> bool:
    """Whether the new or the old object has the labels (`compact` selectors)."""
    if selector is None:
        return True
    return any(obj is not None and _selects(selector, obj) for obj in (attrs.object, attrs.old_object))


def _selects(selector: LabelSelector, obj: Object) -> bool:
    return "metadata" in obj and matches(selector, labels_of(obj))


def namespace_matches(selector: LabelSelector | None, attrs: AdmissionAttributes, reader: Reader) -> bool:
    """Whether the request's namespace has the labels; what has no namespace always matches.

    A namespace that is being written is judged by its new labels. Raises 404 for a namespace that is not there.
    """
    name = namespace_of(attrs)
    about_namespace = attrs.gvr.resource == "namespaces" and not attrs.gvr.group
    if selector is None or (not name and not about_namespace):
        return True
    if about_namespace and not attrs.subresource and attrs.object is not None:
        return matches(selector, labels_of(attrs.object))
    found = reader.get(NAMESPACES, name)
    if found is None:
        raise not_found("", "namespaces", name)
    return matches(selector, labels_of(found))
