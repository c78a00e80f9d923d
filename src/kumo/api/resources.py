"""How a kind of object is addressed: group, version, resource, kind, scope.

`GVR` is what a request names (`apps/v1, deployments`), `GVK` is what an object names (`apps/v1, Deployment`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class GVK(NamedTuple):
    """Group, version and kind; `group` is empty for the core group."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """What an object of this kind has in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


class GVR(NamedTuple):
    """Group, version and resource (the plural in a path), and whether it is namespaced."""

    group: str
    version: str
    resource: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What an object of this resource has in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods`, `deployments.apps`: how error messages name the resource."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, object or subresource."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.resource)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object; its kind, group and version are the parent's unless given."""

    name: str
    verbs: tuple[str, ...]
    kind: str = ""
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One served version of a resource, as discovery lists it."""

    group: str
    version: str
    kind: str
    resource: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()

    @property
    def gvk(self) -> GVK:
        """What its objects name."""
        return GVK(self.group, self.version, self.kind)

    @property
    def gvr(self) -> GVR:
        """What its requests name."""
        return GVR(self.group, self.version, self.resource, self.namespaced)


def core(resource: str, namespaced: bool = True) -> GVR:
    """A resource of the core group, version v1."""
    return GVR("", "v1", resource, namespaced)


NAMESPACES = core("namespaces", False)
NODES = core("nodes", False)
PODS = core("pods")
SERVICES = core("services")
ENDPOINTS = core("endpoints")
EVENTS = core("events")
SECRETS = core("secrets")
CONFIGMAPS = core("configmaps")
SERVICEACCOUNTS = core("serviceaccounts")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICASETS = GVR("apps", "v1", "replicasets")
CONTROLLERREVISIONS = GVR("apps", "v1", "controllerrevisions")
STATEFULSETS = GVR("apps", "v1", "statefulsets")
DAEMONSETS = GVR("apps", "v1", "daemonsets")
ENDPOINTSLICES = GVR("discovery.k8s.io", "v1", "endpointslices")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions", False)
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
ROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CLUSTERROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles", False)
CLUSTERROLEBINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings", False)
PRIORITYCLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses", False)
SUBJECTACCESSREVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews", False)
VMS = GVR("kubevirt.io", "v1", "virtualmachines")
VMIS = GVR("kubevirt.io", "v1", "virtualmachineinstances")
KUBEVIRTS = GVR("kubevirt.io", "v1", "kubevirts")
CLUSTER_INSTANCETYPES = GVR("instancetype.kubevirt.io", "v1beta1", "virtualmachineclusterinstancetypes", False)
INSTANCETYPES = GVR("instancetype.kubevirt.io", "v1beta1", "virtualmachineinstancetypes")
