"""Which service-account tokens a node may ask for: those of its own pods, for the audiences that they name."""

from __future__ import annotations

from collections.abc import Iterator

from kumo.api.objects import Object, uid_of
from kumo.api.resources import GVR, PODS
from kumo.kubernetes.apiserver.admission.refusals import gone, refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader, RequestInfo
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.authorization.node_graph import VOLUMES

_CLAIMS = GVR("", "v1", "persistentvolumeclaims")
_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", False)


class TokenRestriction:
    """Judges TokenRequests of nodes. Without an authorizer no other audiences can be allowed."""

    def __init__(self, reader: Reader, authorizer: Authorizer | None) -> None:
        self._reader = reader
        self._authorizer = authorizer

    def validate(self, attrs: AdmissionAttributes, node: str) -> None:
        """Raise 403 for a token that no pod of the node wants, 404 for a pod that is gone."""
        if attrs.operation != "CREATE" or attrs.subresource != "token":
            return
        spec = (attrs.object or {}).get("spec") or {}
        reference = spec.get("boundObjectRef") or {}
        name, uid = reference.get("name"), reference.get("uid")
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not name:
            raise refused(attrs, "node requested token not bound to a pod")
        if not uid:
            raise refused(attrs, "node requested token with a pod binding without a uid")
        pod = self._reader.get(PODS, name, attrs.namespace)
        if pod is None:
            raise gone("pod", name)
        if uid != uid_of(pod):
            raise refused(
                attrs,
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refused(attrs, "node requested token bound to a pod scheduled on a different node")
        self._audience(attrs, pod, list(spec.get("audiences") or ()))

    def _audience(self, attrs: AdmissionAttributes, pod: Object, audiences: list[str]) -> None:
        if len(audiences) > 1:
            raise refused(attrs, "node may only request 0 or 1 audiences")
        wanted = audiences[0] if audiences else ""
        if wanted in self._named(pod, attrs.namespace):
            return
        if self._authorizer is not None:
            info = RequestInfo(
                "request-serviceaccounts-token-audience", "", "", "v1", attrs.namespace, wanted, "", attrs.name
            )
            if wanted and self._authorizer.authorize(attrs.user, info).allowed:
                return
        raise refused(
            attrs,
            f'audience "{wanted}" not found in pod spec volume, {attrs.user.name} is not authorized to request tokens '
            "for this audience",
        )

    def _named(self, pod: Object, namespace: str) -> Iterator[str]:
        """The audiences that the pod's projected tokens and its volumes' drivers ask for."""
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if token := source.get("serviceAccountToken"):
                    yield token.get("audience") or ""
            driver = self._reader.get(_DRIVERS, name) if (name := self._driver(pod, volume, namespace)) else None
            for token in ((driver or {}).get("spec") or {}).get("tokenRequests") or ():
                yield token.get("audience") or ""

    def _driver(self, pod: Object, volume: Object, namespace: str) -> str:
        if "csi" in volume:
            return (volume["csi"] or {}).get("driver") or ""
        if "ephemeral" in volume:
            claim = f"{pod['metadata']['name']}-{volume['name']}"
        else:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        found = self._reader.get(_CLAIMS, claim, namespace) if claim else None
        bound = ((found or {}).get("spec") or {}).get("volumeName")
        spec = (self._reader.get(VOLUMES, bound) or {}).get("spec") or {} if bound else {}
        return (spec.get("csi") or {}).get("driver") or ""
