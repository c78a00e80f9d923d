"""What a VMI takes over from a pod's spec: affinity, tolerations, spreading, DNS, probes (`core/v1`)."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.types import (
    INT32,
    INT64,
    INT_OR_STRING,
    STRING,
    Schema,
    atomic,
    items,
    mapping,
    record,
)

_REQUIREMENT = record("key operator", key=STRING, operator=STRING, values=atomic(STRING))
LABEL_SELECTOR = record(matchExpressions=atomic(_REQUIREMENT), matchLabels=mapping(STRING))
_NODE_TERM = record(matchExpressions=atomic(_REQUIREMENT), matchFields=atomic(_REQUIREMENT))
_POD_TERM = record(
    "topologyKey",
    labelSelector=LABEL_SELECTOR,
    matchLabelKeys=atomic(STRING),
    mismatchLabelKeys=atomic(STRING),
    namespaceSelector=LABEL_SELECTOR,
    namespaces=atomic(STRING),
    topologyKey=STRING,
)
_POD_AFFINITY = record(
    preferredDuringSchedulingIgnoredDuringExecution=atomic(
        record("podAffinityTerm weight", podAffinityTerm=_POD_TERM, weight=INT32)
    ),
    requiredDuringSchedulingIgnoredDuringExecution=atomic(_POD_TERM),
)

AFFINITY = record(
    nodeAffinity=record(
        preferredDuringSchedulingIgnoredDuringExecution=atomic(
            record("preference weight", preference=_NODE_TERM, weight=INT32)
        ),
        requiredDuringSchedulingIgnoredDuringExecution=record(
            "nodeSelectorTerms", nodeSelectorTerms=atomic(_NODE_TERM)
        ),
    ),
    podAffinity=_POD_AFFINITY,
    podAntiAffinity=_POD_AFFINITY,
)
TOLERATIONS = items(record(effect=STRING, key=STRING, operator=STRING, tolerationSeconds=INT64, value=STRING))
TOPOLOGY_SPREAD: Schema = {
    **items(
        record(
            "maxSkew topologyKey whenUnsatisfiable",
            labelSelector=LABEL_SELECTOR,
            matchLabelKeys=atomic(STRING),
            maxSkew=INT32,
            minDomains=INT32,
            nodeAffinityPolicy=STRING,
            nodeTaintsPolicy=STRING,
            topologyKey=STRING,
            whenUnsatisfiable=STRING,
        )
    ),
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
}
DNS_CONFIG = record(
    nameservers=atomic(STRING), options=atomic(record(name=STRING, value=STRING)), searches=atomic(STRING)
)
PROBE = record(
    exec=record(command=atomic(STRING)),
    failureThreshold=INT32,
    guestAgentPing=record(),
    httpGet=record(
        "port",
        host=STRING,
        httpHeaders=atomic(record("name value", name=STRING, value=STRING)),
        path=STRING,
        port=INT_OR_STRING,
        scheme=STRING,
    ),
    initialDelaySeconds=INT32,
    periodSeconds=INT32,
    successThreshold=INT32,
    tcpSocket=record("port", host=STRING, port=INT_OR_STRING),
    timeoutSeconds=INT32,
)
