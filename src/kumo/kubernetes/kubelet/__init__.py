"""kubelet: see ARCHITECTURE.md."""
