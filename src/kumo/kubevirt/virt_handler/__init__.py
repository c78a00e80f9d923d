"""The node's half of KubeVirt: makes the VirtualMachineInstances of its node run, and tells what they do.

For each VMI that virt-controller has given to this node it finds the launcher's socket in the pod, prepares what needs
privilege (the network in the pod's namespace, the container disk, the cloud-init image), asks the launcher to start
the domain, follows the domain's events, writes the VMI's status, and ends the domain when the VMI is deleted. It serves
virt-api on the node's HTTPS port: consoles, pause, reset, what the guest agent tells. It also labels the node and beats
its heart. It talks to the API server, to launchers and to the kernel. It may be killed at any time: machines run on,
and the next one reconnects.
"""
