"""virt_launcher: see ARCHITECTURE.md."""
