"""What touches the machine: the kernel, the node's engines, and the images that both run.

The kernel is netlink, nftables, cgroups, mounts and KVM; the engines are containerd and libvirt. Nothing here knows the
API server: callers are the node's components (kubelet, kube-proxy, virt-handler) and the command. Most of it blocks for
milliseconds and says so; callers run that in threads.
"""
