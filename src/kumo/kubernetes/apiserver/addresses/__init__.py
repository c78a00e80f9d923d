"""IPAddress objects (networking.k8s.io/v1): one for each cluster address of a Service, written together with it.

The object is the claim: whoever creates it has the address, on this server and on every other one of the same store.
"""
