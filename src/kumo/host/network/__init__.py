"""The node's network: links, namespaces, and the network that pods get.

`namespaces` runs functions inside network namespaces, `links` makes bridges, taps, veth pairs, addresses and routes by
netlink. On top of them `PodNetwork` (in `agent`) answers containerd's CNI calls, which the static forwarder
`kumo-cni` hands over on a unix socket: a bridge for the node, a veth pair, an address (`leases`) and a default route
for each pod, masquerade and host ports by nftables (`rules`). The kubelet and virt-handler use `namespaces` and
`links`; nothing here knows of the API server.
"""
