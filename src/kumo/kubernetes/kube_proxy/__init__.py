"""kube_proxy: see ARCHITECTURE.md."""
