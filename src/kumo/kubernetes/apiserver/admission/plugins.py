"""The built-in plugins in upstream's order, each for the writes that it is about.

The order is that of kube-apiserver 1.36: NamespaceLifecycle (in the chain, it sees every write), LimitRanger,
ServiceAccount, NodeRestriction (likewise), TaintNodesByCondition, Priority, DefaultTolerationSeconds,
ExtendedResourceToleration (an option), DefaultStorageClass, StorageObjectInUseProtection, RuntimeClass, CertificateX,
DefaultIngressClass, PodTopologyLabels; then, judging, LimitRanger, ServiceAccount, PodSecurity, Priority,
PersistentVolumeClaimResize, RuntimeClass, CertificateX, NodeDeclaredFeatureValidator, PodResizeValidator. Webhooks,
policies and ResourceQuota come after them, in the chain. PodGroupProtection, PodGroupWorkloadExists and JobValidation
are about alpha kinds that are not served.
"""

from __future__ import annotations

from kumo.kubernetes.apiserver.admission.certificate_approval import CertificateApproval
from kumo.kubernetes.apiserver.admission.certificate_requester import note_requester
from kumo.kubernetes.apiserver.admission.certificate_signing import CertificateSigning
from kumo.kubernetes.apiserver.admission.certificate_subject_restriction import restrict_subject
from kumo.kubernetes.apiserver.admission.config import AdmissionConfig
from kumo.kubernetes.apiserver.admission.default_classes import default_ingress_class, default_storage_class
from kumo.kubernetes.apiserver.admission.device_rights import DeviceRights
from kumo.kubernetes.apiserver.admission.limit_ranger import LimitRanger
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.admission.node_facts import NodeFacts, taint_new_node
from kumo.kubernetes.apiserver.admission.pod_security.admission import POD_SUBRESOURCES, TEMPLATES, PodSecurity
from kumo.kubernetes.apiserver.admission.priority import Priority
from kumo.kubernetes.apiserver.admission.runtime_class import RuntimeClass
from kumo.kubernetes.apiserver.admission.service_account import ServiceAccountAdmission
from kumo.kubernetes.apiserver.admission.steps import BOTH, CREATE, UPDATE, Kind, Steps
from kumo.kubernetes.apiserver.admission.storage import ClaimResize, protect
from kumo.kubernetes.apiserver.admission.tolerations import default_tolerations, extended_resource_tolerations
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authorization import Authorizer

PODS: Kind = ("", "pods")
CLAIMS: Kind = ("", "persistentvolumeclaims")
VOLUMES: Kind = ("", "persistentvolumes")
NODES: Kind = ("", "nodes")
NAMESPACES: Kind = ("", "namespaces")
INGRESSES: Kind = ("networking.k8s.io", "ingresses")
PRIORITIES: Kind = ("scheduling.k8s.io", "priorityclasses")
ATTRIBUTES_CLASSES: Kind = ("storage.k8s.io", "volumeattributesclasses")
SIGNING_REQUESTS: Kind = ("certificates.k8s.io", "certificatesigningrequests")
DEVICE_CLAIMS: Kind = ("resource.k8s.io", "resourceclaims")
DEVICE_TEMPLATES: Kind = ("resource.k8s.io", "resourceclaimtemplates")
_SIGNING_PARTS = ("", "approval", "status")


class Plugins:
    """`mutating` completes objects, `validating` judges them."""

    def __init__(
        self, reader: Reader, namespaces: NamespaceTable, config: AdmissionConfig, authorizer: Authorizer | None
    ) -> None:
        self.mutating, self.validating = Steps(), Steps()
        limits, accounts, priority = LimitRanger(reader), ServiceAccountAdmission(reader), Priority(reader)
        runtime, nodes = RuntimeClass(reader), NodeFacts(reader)

        add = self.mutating.add
        add(limits.mutate, PODS, CREATE)
        add(limits.mutate, PODS, UPDATE, ("resize",))
        add(accounts.mutate, PODS, CREATE)
        add(accounts.validate, PODS, CREATE)
        add(taint_new_node, NODES, CREATE)
        add(priority.resolve, PODS, CREATE)
        add(priority.keep, PODS, UPDATE)
        add(default_tolerations, PODS, BOTH)
        if config.extended_resource_toleration:
            add(extended_resource_tolerations, PODS, BOTH)
        add(default_storage_class(reader).mutate, CLAIMS, CREATE)
        for kind in (CLAIMS, VOLUMES, ATTRIBUTES_CLASSES):
            add(protect, kind, CREATE)
        add(runtime.mutate, PODS, CREATE)
        add(note_requester, SIGNING_REQUESTS, BOTH, _SIGNING_PARTS)
        add(default_ingress_class(reader).mutate, INGRESSES, CREATE)
        add(nodes.label, PODS, CREATE)
        add(nodes.label, PODS, BOTH, ("binding",))

        add = self.validating.add
        rights = DeviceRights(namespaces, authorizer)
        add(rights.validate_requests, DEVICE_CLAIMS, CREATE)
        add(rights.validate_requests, DEVICE_TEMPLATES, CREATE)
        add(rights.validate_status, DEVICE_CLAIMS, UPDATE, ("status",))
        add(limits.validate, PODS, CREATE)
        add(limits.validate, PODS, UPDATE, ("resize",))
        add(limits.validate, CLAIMS, BOTH)
        add(accounts.validate, PODS, CREATE)
        add(accounts.validate_ephemeral, PODS, UPDATE, ("ephemeralcontainers",))
        security = PodSecurity(reader, namespaces, config.pod_security)
        add(security.validate_pod, PODS, BOTH, POD_SUBRESOURCES)
        add(security.validate_namespace, NAMESPACES, BOTH)
        for kind in TEMPLATES:
            add(security.validate_template, kind, BOTH)
        add(priority.validate_class, PRIORITIES, BOTH)
        add(ClaimResize(reader).validate, CLAIMS, UPDATE)
        add(runtime.validate, PODS, CREATE)
        if authorizer is not None:
            add(CertificateApproval(authorizer).validate, SIGNING_REQUESTS, BOTH, _SIGNING_PARTS)
            add(CertificateSigning(authorizer).validate, SIGNING_REQUESTS, BOTH, _SIGNING_PARTS)
        add(restrict_subject, SIGNING_REQUESTS, BOTH, _SIGNING_PARTS)
        add(nodes.validate_features, PODS, UPDATE, ("", "resize"))
        add(nodes.validate_resize, PODS, UPDATE, ("resize",))
