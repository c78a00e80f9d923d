"""cloud-controller-manager: what a cloud does for its clusters. Here: addresses for Services of type LoadBalancer.

`pools` decides which address a Service gets, from ranges that the cloud owns; `service_controller` writes it into the
Service's status, with upstream's events and finalizer. The nodes' kube-proxies answer for the addresses. It meets the
other components only in objects.
"""
