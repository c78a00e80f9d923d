"""Devices of ResourceClaims on the node: their drivers (type `DRAPlugin`) prepare them, containers get them by CDI.

resource.k8s.io/v1; upstream: `pkg/kubelet/cm/dra`. `manager` is what the kubelet uses.
"""
