"""virt-api: the KubeVirt kinds, their defaults and their rules, and the subresources of a virtual machine.

Talks to the API server only: as admission hooks (`admission`), as the API group `subresources.kubevirt.io`
(`subresources`), and as the one that installs what virt-operator installs elsewhere (`install`). Console, VNC and the
like it carries on to the virt-handler of the VM's node. The same handlers serve as webhooks and aggregated API when
KubeVirt's part of kumo is attached to another Kubernetes cluster.
"""
