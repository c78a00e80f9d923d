"""patch: see ARCHITECTURE.md."""
