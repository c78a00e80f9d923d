"""OpenStack's services as views of the one set of objects: Keystone v3, Glance v2, Nova 2.1, without a database.

A project is a namespace, a role assignment a RoleBinding, a server a VirtualMachine, a flavor a cluster instance type,
an image an `Image` object beside a file. Every service acts as the user who calls it, so the API server's RBAC decides;
what OpenStack's policy adds on top is in tables. Talks to: the API server (a client), containerd only through the
`DiskStore` that the composition hands in. Nothing here imports another wing.
"""

from kumo.openstack.common.disks import DiskStore, DiskStoreError
from kumo.openstack.component import PREFIXES, OpenStack, OpenStackConfig, clouds_yaml

__all__ = ["PREFIXES", "DiskStore", "DiskStoreError", "OpenStack", "OpenStackConfig", "clouds_yaml"]
