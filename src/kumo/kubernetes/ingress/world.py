"""The cluster as an Ingress controller sees it, and the plan that follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from kumo.api.objects import Key, Object, key_of, labels_of, name_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES, SERVICES
from kumo.kubernetes.ingress.backends import Backend, Server, Slots, place, port_of, protocol, servers
from kumo.kubernetes.ingress.certificates import BadCertificate, Certificate, certificate
from kumo.kubernetes.ingress.config import DEFAULT_SECRET, NAMESPACE, SERVICE
from kumo.kubernetes.ingress.names import Names
from kumo.kubernetes.ingress.publication import INGRESS_CLASSES, INGRESSES
from kumo.kubernetes.ingress.routes import Rule, Target, is_ours, own_classes, routing
from kumo.kubernetes.ingress.secret_sources import SecretSource
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.ingress")
_SERVICE_LABEL = "kubernetes.io/service-name"
_INDEX = "ingress-service"
_NAME = re.compile(r"[a-z0-9._-]{1,253}")
_DEFAULT = Key(NAMESPACE, DEFAULT_SECRET)


@dataclass(frozen=True, slots=True)
class Plan:
    """What haproxy is to do, and what is amiss with which Ingress."""

    rules: tuple[Rule, ...] = ()
    backends: Mapping[Target, Backend] = field(default_factory=dict)
    certificates: Mapping[Key, Certificate] = field(default_factory=dict)
    troubles: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    default: Certificate | None = None
    """Shown where no other is, instead of the cluster's own."""

    def same_shape(self, other: Plan) -> bool:
        """Whether only servers differ, each of which has a slot already."""
        if (self.rules, self.certificates, self.default) != (other.rules, other.certificates, other.default):
            return False
        return {t: (b.protocol, b.host, len(b.slots)) for t, b in self.backends.items()} == {
            t: (b.protocol, b.host, len(b.slots)) for t, b in other.backends.items()
        }


class World:
    """Informers of all that Ingresses are about; `changed` is called when something of it does.

    `names` tells what ExternalName Services mean; without it they are not led to.
    """

    def __init__(
        self,
        informers: Informers,
        changed: Callable[[], None],
        secrets: SecretSource,
        names: Names | None = None,
    ) -> None:
        self._names = names
        self._secrets = secrets
        self._ingresses = informers.informer(INGRESSES)
        self._classes = informers.informer(INGRESS_CLASSES)
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINTSLICES)
        self._slices.add_index(_INDEX, _service_of)
        self._named: frozenset[Key] = frozenset()
        self._seen: dict[Key, tuple[object, Certificate | BadCertificate]] = {}
        """What the wanted secrets hold, with the version and hosts that this holds for."""
        self._changed = changed
        for informer in (self._ingresses, self._classes):
            informer.on_change(lambda _old, _new: changed())
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)

    async def wait_synced(self) -> None:
        """Return once everything was listed."""
        for informer in (self._ingresses, self._classes, self._services, self._slices):
            await informer.wait_synced()

    async def wait_secrets(self, ingresses: list[Object]) -> None:
        """Return once it is known what the secrets that these Ingresses name hold."""
        await self._secrets.want({_DEFAULT, *routing(ingresses).secrets} if ingresses else ())

    @property
    def ours(self) -> list[Object]:
        """The Ingresses of this controller's classes."""
        classes = own_classes(self._classes.objects())
        return [i for i in self._ingresses.objects() if is_ours(i, classes)]

    @property
    def balancer(self) -> Object | None:
        """The Service in front of haproxy."""
        return self._services.get(SERVICE, NAMESPACE)

    def piece(self, name: str) -> Object | None:
        """An EndpointSlice of that Service."""
        return self._slices.get(name, NAMESPACE)

    def plan(self, ingresses: list[Object], slots: Mapping[Target, Slots]) -> Plan:
        """What these Ingresses ask for. Servers stay in the slots in which they are."""
        routes = routing(ingresses)
        troubles = {key: list(texts) for key, texts in routes.troubles.items()}
        self._named = frozenset(Key(t.namespace, t.service) for t in routes.targets)
        certificates = {}
        self._seen = {key: seen for key, seen in self._seen.items() if key in routes.secrets or key == _DEFAULT}
        for key, hosts in routes.secrets.items():
            try:
                certificates[key] = self._certificate(key, hosts)
            except BadCertificate as error:
                for ingress in ingresses:
                    if namespace_of(ingress) == key.namespace and _wants(ingress, key.name):
                        troubles.setdefault(key_of(ingress), []).append(f'secret "{key.name}": {error}')
        default = self._default()
        if self._names is not None:
            self._names.want({name for t in routes.targets if (name := self._external(t))})
        backends = {t: self._backend(t, slots.get(t, ())) for t in routes.targets}
        for ingress in ingresses:
            own = sorted(routing([ingress]).targets)
            amiss = [text for t in own if (text := self._amiss(t))]
            if amiss:
                troubles.setdefault(key_of(ingress), []).extend(amiss)
        return Plan(routes.rules, backends, certificates, {k: tuple(t) for k, t in troubles.items()}, default)

    def _default(self) -> Certificate | None:
        if self._secrets.get_key(_DEFAULT) is None:
            self._seen.pop(_DEFAULT, None)
            return None
        known = _DEFAULT in self._seen
        try:
            return self._certificate(_DEFAULT, ())
        except BadCertificate as error:
            if not known:
                _log.error("the default certificate of Ingresses can't be used", secret=str(_DEFAULT), error=str(error))
            return None

    def _amiss(self, target: Target) -> str:
        """Why the target is not led to, or not wholly; empty if it is."""
        name = self._external(target)
        if name:
            return self._names.meaning(name).trouble if self._names is not None else "external names are not led to"
        if self._port(target) is None:
            return f'service "{target.service}" has no port "{target.port}", or is not there'
        return ""

    def _certificate(self, key: Key, hosts: tuple[str, ...]) -> Certificate:
        """As `certificate`, once for each version of a secret: to look at an RSA key takes many milliseconds."""
        secret = self._secrets.get_key(key)
        what = ((secret or {}).get("metadata") or {}).get("resourceVersion"), hosts
        seen = self._seen.get(key)
        if seen is None or seen[0] != what:
            try:
                seen = what, certificate(secret, hosts)
            except BadCertificate as error:
                seen = what, error
            self._seen[key] = seen
        if isinstance(seen[1], BadCertificate):
            raise seen[1]
        return seen[1]

    def _port(self, target: Target) -> Object | None:
        service = self._services.get(target.service, target.namespace)
        return None if service is None else port_of(service, target)

    def _external(self, target: Target) -> str:
        """The name that the target's Service stands for, if it is an ExternalName and the port has a number."""
        spec = (self._services.get(target.service, target.namespace) or {}).get("spec") or {}
        if spec.get("type") != "ExternalName" or (self._port(target) is None and not target.port.isdigit()):
            return ""
        name = str(spec.get("externalName") or "").rstrip(".").lower()
        return name if _NAME.fullmatch(name) else ""

    def _backend(self, target: Target, slots: Slots) -> Backend:
        port, name = self._port(target), self._external(target)
        speech = target.speech or protocol(port or {})
        if name and self._names is not None:
            number = int((port or {}).get("port") or target.port)
            found = tuple(Server(address, number) for address in self._names.meaning(name).addresses)
            return Backend(speech, place(slots, found), name)
        if port is None:
            return Backend(speech, place(slots, ()))
        pieces = self._slices.by_index(_INDEX, str(Key(target.namespace, target.service)))
        return Backend(speech, place(slots, servers(port, pieces)))

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is not None and (key_of(obj) in self._named or key_of(obj) == Key(NAMESPACE, SERVICE)):
            self._changed()

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is not None:
            key = Key(namespace_of(obj), labels_of(obj).get(_SERVICE_LABEL, ""))
            if key in self._named or key == Key(NAMESPACE, SERVICE):
                self._changed()


def _service_of(piece: Object) -> Iterable[str]:
    name = labels_of(piece).get(_SERVICE_LABEL)
    return [str(Key(namespace_of(piece), name))] if name else []


def _wants(ingress: Object, secret: str) -> bool:
    return any(entry.get("secretName") == secret for entry in ingress["spec"].get("tls") or ())


def title(ingress: Object) -> str:
    """`namespace/name`."""
    return f"{namespace_of(ingress)}/{name_of(ingress)}"
