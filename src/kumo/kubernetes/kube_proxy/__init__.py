"""kube-proxy: makes Services reachable, by nftables.

It watches Services and EndpointSlices and keeps one nftables table that leads a Service's addresses and ports to its
endpoints. `services` says what is wanted (objects in, `ServicePort` values out), `rules` writes that in nft's language,
`table` finds the smallest transaction from one state to the next, `proxy` is the shell with the informers and the
kernel. It meets the other components only in objects.
"""
