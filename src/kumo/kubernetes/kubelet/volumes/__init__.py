"""A pod's volumes on this node: directories below the pod's own, made before its containers and removed after them.

`manager` goes through the pod's volumes; `files` holds what is written from objects (config maps, secrets, downward
API, tokens), `directories` what is a directory or a mount (emptyDir, hostPath, image); `local` and `nfs` are those
types. Upstream: `pkg/volume`.
"""
