"""controller_manager: see ARCHITECTURE.md."""
