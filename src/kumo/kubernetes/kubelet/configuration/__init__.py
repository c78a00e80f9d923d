"""KubeletConfiguration (kubelet.config.k8s.io/v1beta1): read from a file, defaulted, checked, made into KubeletConfig.

`fields` is the schema as a table, `reading` decodes strictly, `validation` and `eviction` check in upstream's words,
`applying` says what the kubelet does by it (and what not), `configz` shows what holds.
"""
