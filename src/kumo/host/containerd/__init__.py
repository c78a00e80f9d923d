"""containerd, the node's engine for containers and images: kumo runs its own instance and speaks its wire interfaces.

`config` writes its configuration, `process` says how to start it and waits until it answers. `engine.Containerd` is a
connection: `cri` (pods and containers, images), `tasks` (exec with a true end of input), `events`, `content`, `images`
and `snapshots` (import without a client program, root file systems of images). Used by the kubelet, by virt-handler
(container disks) and by `kumo image`. Containers outlive both containerd and whoever speaks to it.
"""
