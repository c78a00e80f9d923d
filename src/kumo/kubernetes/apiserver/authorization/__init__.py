"""Who may do what: role-based access control (rbac.authorization.k8s.io/v1) over the API server's own cache.

Roles and bindings are compiled into tables that answer a request in a few microseconds; a change to any of them, seen
by `Reader.revision`, makes the tables anew. Also here: the reviews by which a client asks about rights, and the checks
that keep a writer of roles from granting more than he has.

Talks to: the object cache (`Reader`). The API server asks `Authorizer.check` once for every request.
"""

from kumo.kubernetes.apiserver.authorization.authorizer import Authorizer, Decision, forbidden_error
from kumo.kubernetes.apiserver.authorization.escalation import check_escalation
from kumo.kubernetes.apiserver.authorization.reviews import AccessReviews

__all__ = ["AccessReviews", "Authorizer", "Decision", "check_escalation", "forbidden_error"]
