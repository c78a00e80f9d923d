"""virt_handler: see ARCHITECTURE.md."""
