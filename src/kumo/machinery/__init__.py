"""What every component is built from: HTTP as plain values, clients, informers, work queues, controllers, events.

`http` says what a request and an answer are; `listener` serves them over TLS, `transport` sends them (over HTTPS or
straight into a handler of the same process), `client` speaks the Kubernetes API over a transport, `informer` keeps a
copy of a collection, `controller` turns changes into calls of a reconcile function.
"""
