"""The API group `subresources.kubevirt.io`: what one does with a virtual machine beyond writing its object.

`group.subresource_group` gives the `ApiGroup`. `routes` finds the function for a path; `lifecycle`, `guest`, `streams`,
`port_forward`, `volumes`, `memory_dump`, `expand` and `evacuation` are these functions; `nodes` is the way to a node's
virt-handler.
"""

from kumo.kubevirt.virt_api.subresources.group import subresource_group

__all__ = ["subresource_group"]
