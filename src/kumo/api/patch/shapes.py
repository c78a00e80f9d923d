"""How objects divide into fields that can have managers of their own: the schema as server-side apply sees it.

A `Shape` is made of a schema `Node` once and kept on it. Source: `kube-openapi/pkg/schemaconv`, which makes
structured-merge-diff's types out of OpenAPI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kumo.api.schema.nodes import Node
from kumo.api.schema.zeros import zeros_of

Kind = Literal["leaf", "map", "items", "set", "deduced"]
_KEY_DEFAULTS = {"protocol": "TCP"}
"""Defaults of fields that keys of built-in lists are made of (the schema of built-in kinds has no defaults)."""
_ATOMIC_ANY = frozenset(("RawExtension",))
BY_VALUE: Mapping[str, frozenset[str]] = {
    "DaemonSetSpec": frozenset(("template", "updateStrategy")),
    "DeploymentSpec": frozenset(("strategy", "template")),
    "ReplicaSetSpec": frozenset(("template",)),
    "StatefulSetSpec": frozenset(("template", "updateStrategy")),
    "HorizontalPodAutoscalerSpec": frozenset(("scaleTargetRef",)),
    "CronJobSpec": frozenset(("jobTemplate",)),
    "JobSpec": frozenset(("template",)),
    "Binding": frozenset(("target",)),
    "Event": frozenset(("involvedObject", "source", "deprecatedSource", "regarding")),
    "NodeStatus": frozenset(("daemonEndpoints", "nodeInfo")),
    "NodeDaemonEndpoints": frozenset(("kubeletEndpoint",)),
    "PersistentVolumeClaimSpec": frozenset(("resources",)),
    "PodTemplate": frozenset(("template",)),
    "ServiceStatus": frozenset(("loadBalancer",)),
    "IngressStatus": frozenset(("loadBalancer",)),
    "FlowSchemaSpec": frozenset(("priorityLevelConfiguration",)),
    "NetworkPolicySpec": frozenset(("podSelector",)),
    "ClusterRoleBinding": frozenset(("roleRef",)),
    "RoleBinding": frozenset(("roleRef",)),
    "ResourceClaimSpec": frozenset(("devices",)),
    "ResourceSliceSpec": frozenset(("pool",)),
    "VolumeAttachmentSpec": frozenset(("source",)),
    "CustomResourceDefinitionSpec": frozenset(("names",)),
    "CustomResourceDefinitionStatus": frozenset(("acceptedNames",)),
    "ReplicationControllerSpec": frozenset(),
}
"""Fields of built-in types that hold a struct, not a pointer to one, besides metadata, spec and status.

They are there (empty) in an object without any content, so that who fills them does not own the place itself.
"""
_TIMES: Mapping[str, tuple[str, ...]] = {
    "APIServiceCondition": ("lastTransitionTime",),
    "CertificateSigningRequestCondition": ("lastTransitionTime", "lastUpdateTime"),
    "Condition": ("lastTransitionTime",),
    "CustomResourceDefinitionCondition": ("lastTransitionTime",),
    "DaemonSetCondition": ("lastTransitionTime",),
    "DeploymentCondition": ("lastTransitionTime", "lastUpdateTime"),
    "HorizontalPodAutoscalerCondition": ("lastTransitionTime",),
    "JobCondition": ("lastProbeTime", "lastTransitionTime"),
    "NamespaceCondition": ("lastTransitionTime",),
    "NodeCondition": ("lastHeartbeatTime", "lastTransitionTime"),
    "PersistentVolumeClaimCondition": ("lastProbeTime", "lastTransitionTime"),
    "PodCondition": ("lastProbeTime", "lastTransitionTime"),
    "ReplicaSetCondition": ("lastTransitionTime",),
    "ReplicationControllerCondition": ("lastTransitionTime",),
    "StatefulSetCondition": ("lastTransitionTime",),
}
"""Times that built-in types hold by value: who adds an item owns them too, if only as null."""
_ALWAYS = frozenset(("metadata", "spec", "status"))


class Shape:
    """What may be managed apart at one place.

    - `leaf`: the value as a whole.
    - `map`: the `fields` (and for other keys `values`) one by one.
    - `items`: the items of a list, told apart by `keys`; `set`: the items of a list of scalars.
    - `deduced`: not known beforehand: an object's fields one by one, anything else as a whole.

    `structs` are the fields that are there, if empty, in every object of the kind; `required` those that an object
    without content has as null, 0, false or an empty text.
    """

    __slots__ = (
        "_fields",
        "_item",
        "_values",
        "_zero",
        "elements",
        "key_defaults",
        "keys",
        "kind",
        "node",
        "said",
        "sorted_keys",
        "specs",
        "structs",
        "times",
    )

    def __init__(self, node: Node | None, kind: Kind) -> None:
        self.kind: Kind = kind
        self.node = node
        self._fields: dict[str, Shape] | None = None
        self._values: Shape | None = None
        self._item: Shape | None = None
        self._zero: dict[str, Any] | None = None
        self.keys: tuple[str, ...] = node.list_keys if node is not None and kind == "items" else ()
        self.sorted_keys = sorted(self.keys)
        self.key_defaults: dict[str, Any] | None = None
        self.said: dict[tuple[str, ...], Any] = {}
        """What objects say by the names of their fields (see `typed.Said`)."""
        self.specs: dict[bytes, Any] = {}
        """What the specs of new objects say, by their JSON (see `typed.made`)."""
        self.elements: dict[str, str] = {}
        """Path elements of items by the value of their only key (see `typed.item_element`)."""
        self.structs: frozenset[str] = frozenset()
        self.times: tuple[str, ...] = _TIMES.get(node.name, ()) if node is not None else ()
        if node is not None and node.name:
            self.structs = BY_VALUE.get(node.name, frozenset()) | {
                name for name in node.fields if name in _ALWAYS and node.fields[name].type == "object"
            }

    @property
    def fields(self) -> dict[str, Shape]:
        """The named fields."""
        if self._fields is None:
            known = self.node.fields if self.node is not None and self.kind == "map" else {}
            self._fields = {name: shape_of(child) for name, child in known.items()}
        return self._fields

    @property
    def values(self) -> Shape:
        """What stands below a key that is no named field."""
        if self._values is None:
            below = self.node.values if self.node is not None else None
            self._values = DEDUCED if below is None else shape_of(below)
        return self._values

    def field(self, name: str) -> Shape:
        """What stands below the key."""
        found = self.fields.get(name)
        return found if found is not None else self.values

    def child(self, name: str) -> Shape:
        """What stands below the key, also where parts are not managed apart."""
        node = self.node
        if node is None:
            return DEDUCED
        below = node.fields.get(name) or node.values
        return DEDUCED if below is None else below.shape or shape_of(below)

    @property
    def item(self) -> Shape:
        """What a list's items are."""
        if self._item is None:
            below = self.node.items if self.node is not None else None
            self._item = LEAF if below is None else shape_of(below)
        return self._item

    def key_default(self, name: str) -> Any:
        """The default of a field that a list's keys are made of, or None."""
        if self.key_defaults is None:
            self.key_defaults = {}
            below = self.node.items if self.node is not None else None
            for key in self.keys:
                child = below.field(key) if below is not None else None
                default = child.schema.get("default") if child is not None else None
                if default is None and below is not None and below.name:
                    default = _KEY_DEFAULTS.get(key)
                    if child is not None and default is None and key in (below.schema.get("required") or ()):
                        default = _SCALAR_ZEROS.get(child.type)
                if default is not None:
                    self.key_defaults[key] = default
        return self.key_defaults.get(name)

    def zero(self) -> dict[str, Any]:
        """What an object of a built-in kind is before anything is said of it; not to be changed."""
        if self._zero is not None:
            return self._zero
        if self.node is None or not self.node.name:
            return {}
        found: dict[str, Any] = {n: self.fields[n].zero() for n in self.structs if n in self.fields}
        zeros = zeros_of(self.node.definition)
        for name in self.node.schema.get("required") or ():
            if name not in found and name in self.node.fields and zeros.get(name) != "-":
                found[name] = _SCALAR_ZEROS.get(self.node.fields[name].type)
        for name, zero in zeros.items():
            if zero in _MARKED_ZEROS and name not in found and name in self.node.fields:
                found[name] = _MARKED_ZEROS[zero]
        self._zero = found
        return found

    def __repr__(self) -> str:
        return f"Shape({self.kind})"


_MARKED_ZEROS: Mapping[str, Any] = {"s": "", "i": 0, "b": False, "l": None, "t": None, "p": None, "q": "0", "n": 0}
"""What is shown of fields that nobody has set, by the marks of `kumo.api.schema.zeros`."""
_SCALAR_ZEROS: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def _kind(node: Node) -> Kind:
    if node.type in ("object", "map"):
        return "leaf" if node.map_type == "atomic" else "map"
    if node.type == "array":
        if node.list_type == "map":
            return "items"
        return "set" if node.list_type == "set" else "leaf"
    if node.type == "any":
        return "leaf" if node.name in _ATOMIC_ANY or node.map_type == "atomic" else "deduced"
    return "leaf"


def shape_of(node: Node) -> Shape:
    """The node's shape, made at the first call."""
    found: Shape | None = node.shape
    if found is None:
        found = node.shape = Shape(node, _kind(node))
    return found


LEAF = Shape(None, "leaf")
DEDUCED = Shape(None, "deduced")
