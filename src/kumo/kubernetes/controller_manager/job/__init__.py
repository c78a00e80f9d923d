"""The job controller: runs pods of a template until enough of them have succeeded, or too many have failed.

`decision` is pure, `controller` the shell; it talks to the API server alone. Jobs of completion mode NonIndexed.
"""
