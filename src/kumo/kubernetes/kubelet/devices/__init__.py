"""Device plugins: who offers what on this node, which container has which device, what it gets with it.

`DeviceManager` is what the kubelet starts and asks; `registration` takes plugins in, `plugin` calls them, `ledger`
knows what there is and who has it, `checkpoint` keeps that over restarts. Source: the device plugin API v1beta1;
upstream: `pkg/kubelet/cm/devicemanager`.
"""
