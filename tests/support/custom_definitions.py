"""Definitions of custom resources in the shapes of well-known projects, written for the tests."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object

STRING = {"type": "string"}
_HOST = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]+)*$"
_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
_SAME_HOST = (
    "(has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) && !has(l2.hostname))"
)


def rules(*given: str | dict[str, Any]) -> dict[str, Any]:
    """`x-kubernetes-validations` of texts or whole rules."""
    return {"x-kubernetes-validations": [{"rule": g} if isinstance(g, str) else g for g in given]}


def objects(properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An object schema."""
    return {"type": "object", **({"properties": properties} if properties else {}), **more}


def listing(items: dict[str, Any], most: int = 16, keys: list[str] | None = None) -> dict[str, Any]:
    """An array schema; of list type map with `keys`."""
    typed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys} if keys else {}
    return {"type": "array", "maxItems": most, "items": items, **typed}


def definition(kind: str, schema: dict[str, Any], group: str = "shapes.kumo.dev", **version: Any) -> Object:
    """A definition of one version, v1."""
    plural = f"{kind.lower()}s"
    one = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [one]},
    }


def gateway() -> Object:
    """As the Gateway API's Gateway: listeners in a list map, with rules over all of them."""
    listener = objects(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": 63},
            "hostname": {
                "type": "string",
                "maxLength": 253,
                "pattern": _HOST,
            },
            "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
            "protocol": {"type": "string", "maxLength": 16},
            "tls": objects(
                {
                    "mode": {"type": "string", "enum": ["Terminate", "Passthrough"], "default": "Terminate"},
                    "certificateRefs": listing(
                        objects({"name": {"type": "string", "maxLength": 63}}, required=["name"])
                    ),
                    "options": objects(additionalProperties={"type": "string", "maxLength": 64}, maxProperties=16),
                },
                **rules(
                    {
                        "rule": "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 || size(self.options) > 0 : "
                        "true",
                        "message": "certificateRefs or options must be specified when mode is Terminate",
                    }
                ),
            ),
        },
        required=["name", "port", "protocol"],
    )
    listeners = {
        **listing(listener, 64, ["name"]),
        "minItems": 1,
        **rules(
            {
                "rule": "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
                "message": "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
            },
            {
                "rule": "self.all(l, l.protocol in ['TCP', 'UDP'] ? (!has(l.hostname) || l.hostname == '') : true)",
                "message": "hostname must not be specified for protocols ['TCP', 'UDP']",
            },
            {
                "rule": "self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && "
                f"{_SAME_HOST}))",
                "message": "Combination of port, protocol and hostname must be unique for each listener",
            },
        ),
    }
    address = objects(
        {"type": {"type": "string", "default": "IPAddress"}, "value": {"type": "string", "maxLength": 253}},
        **rules("self.type == 'IPAddress' && has(self.value) ? isIP(self.value) : true"),
    )
    spec = objects(
        {
            "gatewayClassName": {"type": "string", "maxLength": 253, **rules("self == oldSelf")},
            "listeners": listeners,
            "addresses": listing(address),
        },
        required=["gatewayClassName", "listeners"],
    )
    return definition(
        "Gateway", objects({"spec": spec, "status": objects({"n": {"type": "integer"}})}), subresources={"status": {}}
    )


def certificate() -> Object:
    """As cert-manager's Certificate: durations, key usages, one of several issuers, a status with conditions."""
    spec = objects(
        {
            "commonName": {"type": "string", "maxLength": 64},
            "dnsNames": listing({"type": "string", "maxLength": 253}, 100),
            "duration": {"type": "string", "format": "duration"},
            "renewBefore": {"type": "string", "format": "duration"},
            "isCA": {"type": "boolean", "default": False},
            "secretName": {"type": "string", "maxLength": 253},
            "usages": {
                "type": "array",
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "enum": ["sign", "server auth"]},
            },
            "privateKey": objects(
                {
                    "algorithm": {"type": "string", "enum": ["RSA", "ECDSA"], "default": "RSA"},
                    "size": {"type": "integer"},
                },
                default={},
            ),
            "issuerRef": objects({"name": STRING, "kind": {"type": "string", "default": "Issuer"}}, required=["name"]),
            "secretTemplate": objects(
                {
                    "annotations": objects(additionalProperties=STRING),
                    "labels": objects(additionalProperties=STRING),
                }
            ),
        },
        required=["secretName", "issuerRef"],
        **rules(
            {
                "rule": "!has(self.duration) || !has(self.renewBefore) || self.renewBefore < self.duration",
                "messageExpression": "'renewBefore of ' + self.secretName.substring(0, 1) + ' is too long'",
                "fieldPath": ".renewBefore",
            },
            "has(self.commonName) || (has(self.dnsNames) && self.dnsNames.size() > 0)",
        ),
    )
    condition = objects(
        {"type": STRING, "status": {"type": "string", "enum": ["True", "False", "Unknown"]}}, required=["type"]
    )
    status = objects(
        {"conditions": listing(condition, 8, ["type"]), "notAfter": {"type": "string", "format": "date-time"}}
    )
    columns = [
        {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    ]
    return definition(
        "Certificate",
        objects({"spec": spec, "status": status}),
        subresources={"status": {}},
        additionalPrinterColumns=columns,
    )


def prometheus() -> Object:
    """As prometheus-operator's Prometheus: quantities, embedded templates, fields of any form, int-or-string."""
    quantity = {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$",
    }
    storage = objects(
        {
            "volumeClaimTemplate": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "properties": {
                    "spec": objects({"storageClassName": STRING}, **{"x-kubernetes-preserve-unknown-fields": True})
                },
            },
            "emptyDir": objects({"sizeLimit": quantity}),
        },
        oneOf=[{"required": ["volumeClaimTemplate"]}, {"required": ["emptyDir"]}],
    )
    spec = objects(
        {
            "replicas": {"type": "integer", "format": "int32", "default": 1, "minimum": 0},
            "retention": {"type": "string", "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?)$"},
            "storage": storage,
            "resources": objects({"limits": objects(additionalProperties=quantity, maxProperties=8)}),
            "externalLabels": objects(additionalProperties={"type": "string", "maxLength": 63}, maxProperties=20),
            "additionalArgs": listing(
                objects({"name": {"type": "string", "minLength": 1}, "value": STRING}, required=["name"])
            ),
            "podMonitorSelector": {
                **objects({"matchLabels": objects(additionalProperties=STRING)}),
                "x-kubernetes-map-type": "atomic",
            },
            "extra": {"x-kubernetes-preserve-unknown-fields": True},
        },
        **rules("!has(self.externalLabels) || self.externalLabels.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$'))"),
    )
    return definition("Prometheus", objects({"spec": spec}))
