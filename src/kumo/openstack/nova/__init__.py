"""Nova: compute, API 2.1 with microversions. A server is a VirtualMachine, a flavor a cluster instance type, a key pair
a Secret of the user's. Talks to: the API server (as the caller), Keystone and Glance never: it reads their objects. The
`DiskStore` makes an image bootable when the first server wants it.
"""
