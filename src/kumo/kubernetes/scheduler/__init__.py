"""kube-scheduler: chooses a node for every pod that has none, and binds it.

The decision is pure: `decision.look` takes a pod, the world and a profile, whose `plugins` refuse and score nodes, as
upstream's scheduling framework; `preemption` looks for pods that could make room. `queue` keeps what waits, and knows
by the plugins' interests which events could help it. `configuration` reads a KubeSchedulerConfiguration. The shell,
`scheduler.Scheduler`, reads informers and writes bindings, conditions and events; it talks to the API server and to
extenders alone.
"""

from kumo.kubernetes.scheduler.configuration import Configuration
from kumo.kubernetes.scheduler.scheduler import Scheduler, SchedulerConfig

__all__ = ["Configuration", "Scheduler", "SchedulerConfig"]
