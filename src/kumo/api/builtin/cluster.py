"""What a cluster is run with: networking, storage, access, certificates, extensions, flow control, leases, events."""

from __future__ import annotations

from kumo.api.builtin.table import CREATE, STATUS, Group
from kumo.api.resources import ResourceType, Subresource

_EXTENSIONS = ("api-extensions",)


def resources() -> tuple[ResourceType, ...]:
    """The resources of these groups."""
    return (*_networking(), *_storage(), *_access(), *_extensions(), *_coordination())


def _networking() -> tuple[ResourceType, ...]:
    g = Group("networking.k8s.io")
    return (
        g.cluster("IngressClass", "ingressclasses"),
        g.namespaced("Ingress", "ingresses", "ing", STATUS),
        g.cluster("IPAddress", "ipaddresses", "ip"),
        g.namespaced("NetworkPolicy", "networkpolicies", "netpol"),
        g.cluster("ServiceCIDR", "servicecidrs", "", STATUS),
        Group("discovery.k8s.io").namespaced("EndpointSlice", "endpointslices"),
    )


def _storage() -> tuple[ResourceType, ...]:
    g = Group("storage.k8s.io")
    return (
        g.cluster("CSIDriver", "csidrivers"),
        g.cluster("CSINode", "csinodes"),
        g.namespaced("CSIStorageCapacity", "csistoragecapacities"),
        g.cluster("StorageClass", "storageclasses", "sc"),
        g.cluster("VolumeAttachment", "volumeattachments", "", STATUS),
        g.cluster("VolumeAttributesClass", "volumeattributesclasses", "vac"),
    )


def _access() -> tuple[ResourceType, ...]:
    authentication, authorization = Group("authentication.k8s.io"), Group("authorization.k8s.io")
    rbac = Group("rbac.authorization.k8s.io")
    return (
        authentication.cluster("SelfSubjectReview", "selfsubjectreviews", verbs=CREATE),
        authentication.cluster("TokenReview", "tokenreviews", verbs=CREATE),
        authorization.namespaced("LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=CREATE),
        authorization.cluster("SelfSubjectAccessReview", "selfsubjectaccessreviews", verbs=CREATE),
        authorization.cluster("SelfSubjectRulesReview", "selfsubjectrulesreviews", verbs=CREATE),
        authorization.cluster("SubjectAccessReview", "subjectaccessreviews", verbs=CREATE),
        rbac.cluster("ClusterRoleBinding", "clusterrolebindings"),
        rbac.cluster("ClusterRole", "clusterroles"),
        rbac.namespaced("RoleBinding", "rolebindings"),
        rbac.namespaced("Role", "roles"),
        Group("certificates.k8s.io").cluster(
            "CertificateSigningRequest",
            "certificatesigningrequests",
            "csr",
            Subresource("approval", ("get", "patch", "update")),
            STATUS,
        ),
    )


def _extensions() -> tuple[ResourceType, ...]:
    g = Group("admissionregistration.k8s.io")
    return (
        g.cluster("MutatingAdmissionPolicy", "mutatingadmissionpolicies", categories=_EXTENSIONS),
        g.cluster("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", categories=_EXTENSIONS),
        g.cluster("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", categories=_EXTENSIONS),
        g.cluster("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "", STATUS, categories=_EXTENSIONS),
        g.cluster("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", categories=_EXTENSIONS),
        g.cluster("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", categories=_EXTENSIONS),
        Group("apiextensions.k8s.io").cluster(
            "CustomResourceDefinition", "customresourcedefinitions", "crd crds", STATUS, categories=_EXTENSIONS
        ),
        Group("apiregistration.k8s.io").cluster("APIService", "apiservices", "", STATUS, categories=_EXTENSIONS),
    )


def _coordination() -> tuple[ResourceType, ...]:
    flow = Group("flowcontrol.apiserver.k8s.io")
    return (
        Group("coordination.k8s.io").namespaced("Lease", "leases"),
        Group("events.k8s.io").namespaced("Event", "events", "ev"),
        flow.cluster("FlowSchema", "flowschemas", "", STATUS),
        flow.cluster("PriorityLevelConfiguration", "prioritylevelconfigurations", "", STATUS),
    )
