"""NetworkPolicy: which pods may talk to which, enforced on the node of each pod by nftables.

`selection` says which policies isolate a pod and who is meant by a peer, `ports` which ports; `rules` writes a policy
and a pod in nft's language; `enforcer` is the shell with the informers and the kernel, and stands at the gate of the
pod network, so that no pod is open before its policies hold. It meets the other components only in objects.
"""
