"""host: see ARCHITECTURE.md."""
