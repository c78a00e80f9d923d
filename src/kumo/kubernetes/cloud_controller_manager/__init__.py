"""cloud_controller_manager: see ARCHITECTURE.md."""
