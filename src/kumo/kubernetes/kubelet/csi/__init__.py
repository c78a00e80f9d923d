"""CSI on the node: drivers make themselves known, and their volumes are staged, published, grown and taken away.

`registration` finds drivers in the folder `plugins_registry`, `handler` takes them in, `drivers` keeps who is there,
`csi_node` tells the cluster (CSINode, the Node's annotation and topology labels). `volumes.CsiVolumes` does the work
for the volume manager: `attachment` waits for the attach/detach controller, `specs` and `calls` make the requests
(pure), `places` says where things are (upstream's layout), `records` what was begun (so that a killed kubelet ends it),
`growth` and `expansion` grow what is in use. `node_storage.NodeStorage` puts all of it together for the kubelet.
Upstream: `pkg/volume/csi`, `pkg/kubelet/pluginmanager`, `pkg/volume/util/operationexecutor`.
"""
