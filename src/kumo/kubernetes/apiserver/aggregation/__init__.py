"""API aggregation (`apiregistration.k8s.io/v1`): group versions that other servers answer, behind this one.

An APIService with `spec.service` sends `/apis/{group}/{version}` to that service, over HTTPS, with the client
certificate of the front proxy and the user in headers. Talks to: the ready endpoints of those services.
"""
