"""kube-scheduler: chooses a node for every pod that has none, and binds it.

The decision is pure: `decision.decide` takes a pod and the world (`nodes`, `filters`, `scores`, `affinity`, `spread`,
`volumes`) and gives a node or the reasons why not; `preemption` looks for pods that could make room. `queue` keeps what
waits and knows which changes could help it. The shell, `scheduler.Scheduler`, reads informers and writes bindings,
conditions and events; it talks to the API server alone.
"""

from kumo.kubernetes.scheduler.scheduler import Scheduler, SchedulerConfig

__all__ = ["Scheduler", "SchedulerConfig"]
