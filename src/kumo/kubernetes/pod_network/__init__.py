"""The pod network between nodes: follows the Node objects and keeps the way to each other node's pods.

Talks to the API server (nodes, read only) and to the kernel by `kumo.host.network.overlay`. The pods of this node are
`kumo.host.network.agent`'s.
"""
