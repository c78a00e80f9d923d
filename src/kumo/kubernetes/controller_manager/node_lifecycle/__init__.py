"""Node life cycle: says when a node has fallen silent, taints it, and evicts the pods that do not tolerate that.

`health` and `taints` decide; `controller` judges nodes by their leases, `eviction` acts on NoExecute taints.
Both talk to the API server alone.
"""
