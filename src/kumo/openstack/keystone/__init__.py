"""keystone: see ARCHITECTURE.md."""
