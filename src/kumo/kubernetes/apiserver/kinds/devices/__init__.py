"""The kinds of dynamic resource allocation (resource.k8s.io/v1): their defaults, validation, and status rules.

`rules()` has those of DeviceClass, ResourceClaim, ResourceClaimTemplate and ResourceSlice; upstream keeps them in
`pkg/apis/resource/validation` and `pkg/registry/resource`.
"""

from kumo.kubernetes.apiserver.kinds.devices.kinds import rules

__all__ = ["rules"]
