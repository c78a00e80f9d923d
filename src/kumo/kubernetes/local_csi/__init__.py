"""kumo's own storage driver: a CSI driver that keeps volumes as files on its node's disk.

A volume is a sparse image shown as a loop device, with a file system in it or raw (so that its size holds), or, where
the machine has no loop devices, a directory. `component.LocalCsi` serves the three services of the Container Storage
Interface on a unix socket and makes itself known to the kubelet; it knows nothing of Kubernetes' objects and needs no
API server. `library` is what is on the disk, `backing` how volumes are made of files, `requests` what may be asked for;
`controller`, `snapshots`, `node` and `identity` are the services; `objects` are its CSIDriver and StorageClass.
Source: the CSI specification 1.11; upstream's counterpart is csi-driver-host-path.
"""
