"""Endpoints: which pods are behind a service, as EndpointSlices (what proxies read) and as the older Endpoints.

`addresses` turns a service and its pods into endpoints, `slices` and `subsets` pack them; all pure. `controller` is the
shell; it talks to the API server alone.
"""
