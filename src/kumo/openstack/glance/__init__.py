"""glance: see ARCHITECTURE.md."""
