"""The node's own HTTP API, which only the API server calls: logs, exec, attach, port-forward, pods, statistics.

`routes` finds the way, `node_logs` shows the machine's log files, `streams` runs processes over WebSockets,
`portforward` carries connections into pods. Paths and protocols are those of upstream's kubelet (`pkg/kubelet/server`).
"""
