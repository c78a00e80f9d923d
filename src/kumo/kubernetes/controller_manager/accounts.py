"""What every namespace is given: the service account `default`, and the CA certificate that pods trust."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Key, Object, is_deleting, name_of, namespace_of
from kumo.api.resources import CONFIGMAPS, GVR, NAMESPACES, SERVICEACCOUNTS
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informer, Informers

ROOT_CA = "kube-root-ca.crt"
_ABOUT_CA = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


class _PerNamespace:
    """One object of a fixed name in each namespace that is not being deleted."""

    name = ""

    def __init__(self, client: Client, informers: Informers, gvr: GVR, fixed_name: str) -> None:
        self._client = client
        self._gvr = gvr
        self._fixed_name = fixed_name
        self._namespaces = informers.informer(NAMESPACES)
        self._found: Informer = informers.informer(gvr, field_selector=f"metadata.name={fixed_name}")
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._namespaces, lambda o: [Key("", name_of(o))])
        self._controller.watch(self._found, lambda o: [Key("", namespace_of(o))])

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _wanted(self, namespace: str, found: Object | None) -> Object | None:
        """The object to write; None if the one that was found is right."""
        raise NotImplementedError

    async def _reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get_key(key)
        if namespace is None or is_deleting(namespace):
            return None
        found = self._found.get(self._fixed_name, key.name)
        wanted = self._wanted(key.name, found)
        if wanted is None:
            return None
        try:
            if found is None:
                await self._client.create(self._gvr, wanted)
            else:
                await self._client.update(self._gvr, wanted)
        except StatusError as error:
            gone = is_not_found(error) or is_namespace_ending(error)
            if not gone and not is_already_exists(error):
                raise
        return None


class ServiceAccountController(_PerNamespace):
    """Makes the service account `default`."""

    name = "service-account-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__(client, informers, SERVICEACCOUNTS, "default")

    def _wanted(self, namespace: str, found: Object | None) -> Object | None:
        if found is not None:
            return None
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


class RootCAPublisher(_PerNamespace):
    """Keeps the config map `kube-root-ca.crt` as it should be; `certificate` is PEM text."""

    name = "root-ca-certificate-publisher"

    def __init__(self, client: Client, informers: Informers, certificate: str) -> None:
        self._data = {"ca.crt": certificate}
        super().__init__(client, informers, CONFIGMAPS, ROOT_CA)

    def _wanted(self, namespace: str, found: Object | None) -> Object | None:
        if found is not None and found.get("data") == self._data:
            return None
        meta = (found or {}).get("metadata") or {
            "name": ROOT_CA,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": _ABOUT_CA},
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": self._data}
