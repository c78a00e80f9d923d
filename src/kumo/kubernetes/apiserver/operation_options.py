"""CreateOptions, UpdateOptions and DeleteOptions of a request, as admission is told of them."""

from __future__ import annotations

from kumo.api.objects import Object

_TEXTS = ("fieldManager", "fieldValidation")


def operation_options(kind: str, query: dict[str, str]) -> Object:
    """The options of that kind that the query states (`meta.k8s.io/v1`). A patch's are UpdateOptions, as upstream."""
    found: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if query:
        if query.get("dryRun"):
            found["dryRun"] = [query["dryRun"]]
        for name in _TEXTS:
            if query.get(name):
                found[name] = query[name]
    return found


def delete_options(body: Object, query: dict[str, str]) -> Object:
    """The DeleteOptions of the body, else of the query."""
    found: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    stated = {k: v for k, v in body.items() if k not in ("kind", "apiVersion") and v is not None}
    if body:
        return {**found, **stated}
    if query.get("gracePeriodSeconds", "").isdigit():
        found["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
    if query.get("propagationPolicy"):
        found["propagationPolicy"] = query["propagationPolicy"]
    if query.get("orphanDependents"):
        found["orphanDependents"] = query["orphanDependents"] in ("true", "1")
    if query.get("dryRun"):
        found["dryRun"] = [query["dryRun"]]
    return found
