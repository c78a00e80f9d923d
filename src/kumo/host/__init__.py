"""What touches the machine: the kernel (netlink, nftables, cgroups, mounts, KVM) and the node's engines (containerd,
libvirt), and the images that both run.

Nothing here knows the API server: callers are the node's components (kubelet, kube-proxy, virt-handler) and the command.
Most of it blocks for milliseconds and says so; callers run that in threads.
"""
