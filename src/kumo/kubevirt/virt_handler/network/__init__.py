"""The guest's network inside its pod's namespace: a bridge, a tap device, addresses and rules; DHCP is the launcher's.

`plan` decides, from the VMI and what the CNI made of the pod's interface, what there shall be; `setup` makes it, inside
the namespace, idempotently. Bindings: masquerade (the guest has a private address, the pod's address is translated) and
bridge (the guest gets the pod's address). Upstream: `pkg/network/setup/netpod`, `pkg/network/setup/masquerade`.
"""
