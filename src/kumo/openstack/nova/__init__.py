"""nova: see ARCHITECTURE.md."""
