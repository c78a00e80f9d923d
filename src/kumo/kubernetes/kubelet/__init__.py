"""The kubelet: makes the pods that are bound to its node true, as containers of containerd, and says how they are.

Each pod has one worker (`worker`). It looks at the pod object and at what containerd has of it (`podstate`), decides
with pure functions (`plan`), acts (`containers`, `sandbox`, `volumes`, `images`), and writes the status (`status`,
`phase`, `conditions`). containerd's events wake the workers; nothing is polled. `node` registers the machine and keeps
its lease, `probes` asks containers how they are, `server` answers the API server: logs, exec, attach, port-forward.

It talks to the API server by a client, to containerd through `kumo.host.containerd`, and keeps no state of its own:
after a restart it finds its pods by the labels of their sandboxes.
"""
