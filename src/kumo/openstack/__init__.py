"""openstack: see ARCHITECTURE.md."""
