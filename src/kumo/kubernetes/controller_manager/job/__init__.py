"""The job controller: runs pods of a template until enough of them have succeeded, or too many have failed.

Pure: `view` reads a job and its pods, `verdict` says whether the job is to end, `orders` which pods to delete and to
create, `books` how ended pods are counted; `indexes`, `backoff`, `failure_policy`, `success_policy`, `template` serve
them. `controller` is the shell, `orphans` frees pods that no job will count, `expiry` deletes finished jobs in time.
"""
