"""kubernetes: see ARCHITECTURE.md."""
