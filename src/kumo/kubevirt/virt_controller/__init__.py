"""virt_controller: see ARCHITECTURE.md."""
