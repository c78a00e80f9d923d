"""Repeatable measurements: `make bench` prints one table. Point them at any server that speaks the same API."""
