"""The API by which monitoring agents of a node learn which container has which devices, processors and memory.

gRPC on a unix socket, `pod-resources/kubelet.sock` below the kubelet's directory: `v1.PodResourcesLister`, and the old
`v1alpha1` that knows devices only. Upstream: `pkg/kubelet/apis/podresources`.
"""
