"""Functions of CEL, one module a library."""
