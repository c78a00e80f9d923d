"""virt_api: see ARCHITECTURE.md."""
