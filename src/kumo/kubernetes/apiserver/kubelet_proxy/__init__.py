"""The API server's way to pods and nodes: logs, exec, attach, port-forward, and the HTTP proxies.

Talks to: each node's listener, over mutual TLS with the API server's client certificate, at the node's InternalIP and
`status.daemonEndpoints.kubeletEndpoint.Port`; pods and services straight by their addresses for the HTTP proxies.

What the node's listener has to speak (the kubelet's own paths and parameters upstream):

- `GET /containerLogs/{namespace}/{pod}/{container}` with the parameters of PodLogOptions: text, streamed.
- WebSocket `/exec/{namespace}/{pod}/{container}?command=..&command=..&input=1&output=1&error=1&tty=1` and
  `/attach/...` likewise, subprotocols `v5.channel.k8s.io` and `v4.channel.k8s.io`. Messages pass through unchanged
  both ways; the first byte is the channel (0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 resize, 255 close, which
  only v5 knows).
- WebSocket `/portForward/{namespace}/{pod}?port=N` (more ports: more parameters), subprotocols `v5.channel.k8s.io`
  and `v4.channel.k8s.io`: channel 2*i carries the bytes of the i-th port, 2*i+1 its errors as text; the first message
  on each channel is the port, two bytes little endian. With v5 a message `255, channel` ends one direction.

How clients speak port-forward: kubectl (1.30 and newer) opens a WebSocket with subprotocol
`SPDY/3.1+portforward.k8s.io` and runs SPDY/3.1 inside, two streams (`error`, `data`) for each TCP connection; it falls
back to a raw `Upgrade: SPDY/3.1` only against servers without WebSockets. The tunnel ends here: `PortForwardSession`
turns each pair of streams into one WebSocket to the node, so that the node needs no SPDY. Clients that speak
`v4.channel.k8s.io` (the Python client) are passed through.
"""

from kumo.kubernetes.apiserver.kubelet_proxy.proxy import KubeletProxy, KubeletProxyConfig

__all__ = ["KubeletProxy", "KubeletProxyConfig"]
