"""dns: see ARCHITECTURE.md."""
