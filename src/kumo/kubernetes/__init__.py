"""The Kubernetes wing: the API server that holds everything, and the components that make its objects true.

apiserver serves the objects out of `kumo.store`; controller_manager and scheduler decide; kubelet, kube_proxy and dns
make it so on the node. None imports another: they meet in objects, as clients of the API server (`kumo.machinery`).
"""
