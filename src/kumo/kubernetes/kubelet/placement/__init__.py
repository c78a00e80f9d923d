"""Where on the machine containers run: which processors, which memory, near which devices.

`topology` reads the machine from sysfs. `cpus` and `memory` are the static policies of the CPU and Memory Managers,
`picking` chooses among processors, `hints` merges what they (and device plugins) would like into one NUMA affinity, as
the Topology Manager's policies do; `state` keeps what was given over restarts. `manager` ties them together: a pod is
placed before it is taken in, and containers of the shared pool follow when the pool changes.

Upstream: `pkg/kubelet/cm/{cpumanager,memorymanager,topologymanager}`; reasons, messages and files are theirs.
"""
