"""apiserver: see ARCHITECTURE.md."""
