"""Ingress (networking.k8s.io/v1): hosts and paths to Services, with TLS, by haproxy.

`routes`, `backends`, `certificates` and `settings` decide, `engine` runs haproxy, `controller` leads from objects to
the engine and back into their status. Endpoints come and go through haproxy's runtime API; for all else a new worker
takes over the listening sockets of the old one, which answers to the end whom it has accepted.
"""
