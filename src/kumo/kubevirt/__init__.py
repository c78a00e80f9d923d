"""The KubeVirt wing: virtual machines as objects of `kubevirt.io/v1`, presented as KubeVirt v1 presents them.

`virt_api` defines the kinds, fills in defaults, refuses what is wrong and serves the subresources; `virt_controller`
turns a VirtualMachine into a VirtualMachineInstance and that into a launcher pod; `virt_handler` on each node makes the
instance true inside its pod; `virt_launcher` is PID 1 of that pod. They meet in objects only; `common` holds the words
they share.
"""
