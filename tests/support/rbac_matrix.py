"""The RBAC matrix: who may do what to which resource, as a table that people can read.

A line without indent names a subject. Each indented line is `verbs: resources`, which the subject may (in every
namespace, for any name); whatever is not written down he may not. `all` stands for the eight verbs, `read` for get,
list and watch. Resources are `resource[/subresource][.group]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_WORDS = {"all": VERBS, "read": VERBS[:3]}


@dataclass(frozen=True)
class Resource:
    """One row's resource; `scope` is the namespace that is asked about, empty for the cluster."""

    name: str
    subresource: str
    group: str
    scope: str

    @classmethod
    def parse(cls, text: str, scope: str) -> Resource:
        path, _, group = text.partition(".")
        name, _, subresource = path.partition("/")
        return cls(name, subresource, group, scope)

    def __str__(self) -> str:
        path = f"{self.name}/{self.subresource}" if self.subresource else self.name
        return f"{path}.{self.group}" if self.group else path


def read_table(path: Path) -> dict[str, dict[str, set[str]]]:
    """The verbs by subject and resource."""
    table: dict[str, dict[str, set[str]]] = {}
    rows: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line[0].isspace():
            rows = table.setdefault(line.strip(), {})
            continue
        verbs, _, resources = line.partition(":")
        allowed = {v for word in verbs.split() for v in _WORDS.get(word, (word,))}
        for resource in resources.split():
            rows.setdefault(resource, set()).update(allowed)
    return table


def write_table(table: dict[str, dict[str, set[str]]]) -> str:
    """The table as `read_table` reads it."""
    lines: list[str] = []
    for subject, rows in table.items():
        lines.append(subject)
        by_verbs: dict[tuple[str, ...], list[str]] = {}
        for resource, verbs in rows.items():
            if verbs:
                by_verbs.setdefault(tuple(v for v in VERBS if v in verbs), []).append(resource)
        for verbs, resources in by_verbs.items():
            words = "all" if verbs == VERBS else " ".join(verbs).replace("get list watch", "read")
            line = f"    {words}:"
            for resource in resources:
                if len(line) + len(resource) > 116:
                    lines.append(line)
                    line = f"    {words}:"
                line += f" {resource}"
            lines.append(line)
    return "\n".join(lines) + "\n"


NAMESPACED = [
    "bindings",
    "configmaps",
    "endpoints",
    "events",
    "limitranges",
    "persistentvolumeclaims",
    "persistentvolumeclaims/status",
    "pods",
    "pods/attach",
    "pods/binding",
    "pods/ephemeralcontainers",
    "pods/eviction",
    "pods/exec",
    "pods/log",
    "pods/portforward",
    "pods/proxy",
    "pods/resize",
    "pods/status",
    "podtemplates",
    "replicationcontrollers",
    "replicationcontrollers/scale",
    "replicationcontrollers/status",
    "resourcequotas",
    "resourcequotas/status",
    "secrets",
    "serviceaccounts",
    "serviceaccounts/token",
    "services",
    "services/proxy",
    "services/status",
    "controllerrevisions.apps",
    "daemonsets.apps",
    "daemonsets/status.apps",
    "deployments.apps",
    "deployments/scale.apps",
    "deployments/status.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "statefulsets/scale.apps",
    "localsubjectaccessreviews.authorization.k8s.io",
    "horizontalpodautoscalers.autoscaling",
    "cronjobs.batch",
    "jobs.batch",
    "jobs/status.batch",
    "leases.coordination.k8s.io",
    "endpointslices.discovery.k8s.io",
    "events.events.k8s.io",
    "ingresses.networking.k8s.io",
    "ingresses/status.networking.k8s.io",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaims/status.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "widgets.example.com",
]
CLUSTER = [
    "componentstatuses",
    "namespaces",
    "namespaces/finalize",
    "namespaces/status",
    "nodes",
    "nodes/proxy",
    "nodes/status",
    "persistentvolumes",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "apiservices.apiregistration.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
    "tokenreviews.authentication.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "subjectaccessreviews.authorization.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
    "certificatesigningrequests/approval.certificates.k8s.io",
    "certificatesigningrequests/status.certificates.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "ingressclasses.networking.k8s.io",
    "ipaddresses.networking.k8s.io",
    "servicecidrs.networking.k8s.io",
    "runtimeclasses.node.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "deviceclasses.resource.k8s.io",
    "resourceslices.resource.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
]
RESOURCES = [
    *(Resource.parse(r, "somewhere") for r in NAMESPACED),
    *(Resource.parse(r, "") for r in CLUSTER),
]
BOUND = ("cluster-admin", "admin", "edit", "view", "system:node-problem-detector", "system:node-bootstrapper")
"""ClusterRoles that the test binds, each to a user of the same name with `user-` before it."""
COMPONENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "master": ("root", ("system:masters",)),
    "authenticated": ("jane", ("system:authenticated",)),
    "anonymous": ("system:anonymous", ("system:unauthenticated",)),
    "scheduler": ("system:kube-scheduler", ("system:authenticated",)),
    "controller-manager": ("system:kube-controller-manager", ("system:authenticated",)),
    "kube-proxy": ("system:kube-proxy", ("system:authenticated",)),
    "node": ("system:node:n1", ("system:nodes", "system:authenticated")),
    "garbage-collector": ("system:serviceaccount:kube-system:generic-garbage-collector", ("system:serviceaccounts",)),
}
"""Subjects that the default bindings (and the node authorizer) know."""


def subjects() -> dict[str, tuple[str, tuple[str, ...]]]:
    """User and groups of each row's subject."""
    return {**{role: (f"user-{role}", ()) for role in BOUND}, **COMPONENTS}


def review(user: str, groups: tuple[str, ...], verb: str, resource: Resource) -> dict[str, Any]:
    """The SubjectAccessReview of one cell."""
    attributes = {
        "verb": verb,
        "group": resource.group,
        "resource": resource.name,
        "subresource": resource.subresource,
        "namespace": resource.scope,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
    }
