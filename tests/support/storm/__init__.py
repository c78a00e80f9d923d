"""Daemons killed at random moments under work of all sorts, and what must be true all the while and in the end.

`chaos` kills, by a seeded schedule; `works` are what goes on meanwhile (rollouts, evictions, jobs, volumes, ...);
`ledger` follows the API by one watch that must never miss or repeat anything; `audit` looks at real processes.
"""
