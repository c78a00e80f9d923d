"""Which devices claims get: the structured allocation of resource.k8s.io/v1, in the words and order of Kubernetes 1.36.

`pools` says what ResourceSlices offer on a node, `wishes` what a claim asks for, `allocator` searches, `results` writes
down what was found, `claims` keeps what is promised until it is written.
"""
