"""`make demo`: the primer's walk-through on this machine, with its true output."""
