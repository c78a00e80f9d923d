"""What the OpenStack services share: routes, request ids, error bodies, tokens' callers, microversions, paging, checks
of bodies, and the names under which their facts live in objects. Talks to: `kumo.machinery.http`; knows no service.
"""
