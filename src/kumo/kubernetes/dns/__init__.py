"""Cluster DNS: names of Services and pods for the pods, and everything else by way of the machine's own resolvers.

`zone` decides what a name means (the Kubernetes DNS specification 1.1.0), from the `Catalog` that `catalog` keeps of
Services, EndpointSlices and Namespaces; `forward` asks upstream servers and caches; `messages` turns bytes into
questions and answers into bytes; `server` has the sockets; `cluster_dns` is the component: it listens on the node and
publishes itself as the Service `kube-dns`, so that pods reach it at the address in their resolv.conf.
"""
