"""kubevirt: see ARCHITECTURE.md."""
