"""The deployment controller: rolls pods from one template to the next by growing and shrinking replica sets.

Pure: `sets` (replica sets as values), `templates` (hash and equality), `revisions` (annotations and history), `scaling`
(who grows, who shrinks), `progress` (status and conditions), `rollout` (all of them together: state -> actions).
`controller` is the shell; it talks to the API server alone.
"""
