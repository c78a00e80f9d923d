"""The cron job controller: makes jobs when their time has come.

`timing` says which start is due, `books` keeps the account of the jobs, `decision` puts both together; all pure.
`controller` is the shell; it sleeps until the next start of each cron job.
"""
