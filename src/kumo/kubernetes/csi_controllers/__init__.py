"""What stands between the cluster's objects and the Controller service of one CSI driver: the sidecars' work.

Published drivers bring sidecar containers of their own (external-provisioner, -attacher, -resizer, -snapshotter); for a
driver without them `component.CsiControllers` does the same by the same objects, annotations, finalizers and events:
volumes are made and deleted (`provisioner`), attached (`attacher`), grown (`resizer`), changed (`modifier`), copied
(`snapshotter`), and what room there is is published (`capacity`). It talks CSI to the driver's socket and Kubernetes to
any API server. With a `node` in its configuration it does so for the volumes of that node alone, beside others that do
so for theirs.

`volumes`, `secrets` and `topology` say how objects and CSI messages correspond (pure).
"""
