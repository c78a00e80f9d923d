"""Whole Debian machines as guests of QEMU, and kumo in them: systemd, control groups of version 2, a stock kernel."""
