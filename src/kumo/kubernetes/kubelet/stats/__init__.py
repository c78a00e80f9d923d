"""What the node, its pods and their containers use, read when somebody asks: `/stats/summary` and `/metrics/...`.

`usage` reads control groups into plain values, `network`, `filesystems` and `rates` what belongs to them; `summary`
makes upstream's Summary of them, `resource_metrics`, `cadvisor`, `probe_metrics` and `own_metrics` Prometheus' texts.
Nothing is read between two questions.
"""
