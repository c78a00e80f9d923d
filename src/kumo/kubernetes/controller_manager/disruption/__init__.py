"""The disruption controller: how many pods of a PodDisruptionBudget are healthy, and how many may go.

`decision` is the next status of a budget (pure), `scales` finds how many pods their controllers should have,
`controller` is the shell, `stale` takes back a disruption that was announced and never came.
"""
