"""Structural schemas (OpenAPI v3) of the KubeVirt kinds, written out by hand: field names and types are upstream's API.

`types` is the little language they are written in; `scheduling`, `volumes`, `devices` and `domain` are the parts,
`instance`, `machine`, `instancetype` and `cluster` the kinds. No I/O; other rooms see them in the CRDs (`crds`).
"""
