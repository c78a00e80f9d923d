"""scheduler: see ARCHITECTURE.md."""
