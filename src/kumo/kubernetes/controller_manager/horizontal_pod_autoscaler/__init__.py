"""The horizontal pod autoscaler: how many replicas a target should have for its metrics to meet their targets.

`grouping` says which pods' samples count, `requests` what pods ask for, `replicas` how many replicas a metric wants,
`metrics` what each kind of metric makes of it, `behavior` how fast and how soon to go there, `decision` puts it
together; all pure. `sources` fetches metrics, `targets` reads and writes scales, `controller` is the shell.
"""
