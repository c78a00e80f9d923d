"""Which host and path leads where: Ingresses and their classes in, rules out. No I/O.

Source: the Ingress API (networking.k8s.io/v1): path types, host wildcards, default backends, classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Key, Object, annotations_of, is_deleting, key_of, name_of, namespace_of
from kumo.kubernetes.ingress.config import CONTROLLER
from kumo.kubernetes.ingress.wishes import Wishes, wishes_of

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
ANY = ""
"""The host of rules that name none."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A port of a Service, by its number or name as text; `speech` is what an Ingress says is spoken there, if any."""

    namespace: str
    service: str
    port: str
    speech: str = ""

    @property
    def title(self) -> str:
        """What haproxy calls it: its names hold letters, digits, `-`, `_`, `.` and `:`."""
        speech = f":{self.speech}" if self.speech else ""
        return f"{self.namespace}:{self.service}:{self.port}{speech}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One way: requests for `host` (`ANY`, a name, or `*.` and a name) whose path is `path`, or below it.

    With `secure`, who comes by HTTP is sent to HTTPS.
    """

    host: str
    path: str
    exact: bool
    target: Target
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Routing:
    """All ways, the certificates' secrets with the hosts they are for (none: those they name), and what is amiss."""

    rules: tuple[Rule, ...] = ()
    secrets: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    troubles: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)

    @property
    def targets(self) -> frozenset[Target]:
        """Every Service's port that some rule leads to."""
        return frozenset(r.target for r in self.rules)


def own_classes(classes: Iterable[Object]) -> frozenset[str]:
    """The names of the IngressClasses that are this controller's."""
    return frozenset(name_of(c) for c in classes if (c.get("spec") or {}).get("controller") == CONTROLLER)


def is_ours(ingress: Object, classes: Collection[str]) -> bool:
    """Whether the Ingress names one of our classes, in its spec or in the annotation of old."""
    name = (ingress.get("spec") or {}).get("ingressClassName") or annotations_of(ingress).get(CLASS_ANNOTATION)
    return name in classes and not is_deleting(ingress)


def routing(ingresses: Iterable[Object]) -> Routing:
    """The ways of all these Ingresses. Of two for the same host and path, the older Ingress's holds."""
    found: dict[tuple[str, str, bool], Rule] = {}
    secrets: dict[Key, dict[str, None]] = {}
    troubles: dict[Key, list[str]] = {}
    for ingress in sorted(ingresses, key=_age):
        key = key_of(ingress)
        amiss = troubles.setdefault(key, [])
        for place, rule in _rules(ingress, amiss):
            if place in found:
                amiss.append(f'"{rule.host or "*"}{rule.path}" is led elsewhere by an older Ingress')
            else:
                found[place] = rule
        for entry in ingress["spec"].get("tls") or ():
            if entry.get("secretName"):
                hosts = secrets.setdefault(Key(key.namespace, entry["secretName"]), {})
                hosts.update(dict.fromkeys(h.lower() for h in entry.get("hosts") or ()))
    return Routing(
        tuple(found.values()),
        {k: tuple(hosts) for k, hosts in secrets.items()},
        {k: tuple(amiss) for k, amiss in troubles.items() if amiss},
    )


def _age(ingress: Object) -> tuple[str, str, str]:
    return str(ingress["metadata"].get("creationTimestamp") or ""), namespace_of(ingress), name_of(ingress)


def _rules(ingress: Object, amiss: list[str]) -> Iterator[tuple[tuple[str, str, bool], Rule]]:
    """The Ingress's own ways, each with what it may stand at only once; default backends last."""
    spec, wishes = ingress["spec"], wishes_of(ingress, amiss)
    own: set[tuple[str, str, bool]] = set()
    hosts: dict[str, None] = {}
    for rule in spec.get("rules") or ():
        host = (rule.get("host") or ANY).lower()
        hosts[host] = None
        for entry in (rule.get("http") or {}).get("paths") or ():
            target = _target(ingress, entry["backend"], wishes, amiss)
            exact = entry.get("pathType") == "Exact"
            path = entry.get("path") or "/"
            place = (host, path if exact else path.rstrip("/"), exact)
            if target is not None:
                own.add(place)
                yield place, Rule(host, path, exact, target, wishes.secure(host))
    default = _target(ingress, spec["defaultBackend"], wishes, amiss) if spec.get("defaultBackend") else None
    for host in hosts or (ANY,):
        place = (host, "", False)
        if default is not None and place not in own:
            yield place, Rule(host, "/", False, default, wishes.secure(host))


def _target(ingress: Object, backend: Mapping[str, Any], wishes: Wishes, amiss: list[str]) -> Target | None:
    service = backend.get("service")
    if not service:
        resource = backend.get("resource") or {}
        what = f'{resource.get("kind")} "{resource.get("name")}"'
        amiss.append(f"backends other than Services are not supported: {what} is led to by no rule")
        return None
    port = service.get("port") or {}
    text = str(port.get("name") or port.get("number") or "")
    return Target(namespace_of(ingress), service["name"], text, wishes.speech)
