"""The Container Storage Interface v1: the wire between whoever wants volumes and the drivers that make them.

`client.CsiClient` calls a driver on its unix socket, `registration` is how a driver makes itself known to a kubelet,
`server` serves either interface, `errors.CsiError` is what goes wrong on both ends. The messages are
`stubs.csi_pb2` and `stubs.registration_pb2`. Used by the kubelet (Node), by the volume controllers (Controller) and by
kumo's own driver, which never meet but here. Source: the CSI specification and Kubernetes' plugin registration v1.
"""
