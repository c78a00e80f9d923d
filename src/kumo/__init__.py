"""kumo: a private cloud in one Python package.

Everything in the cloud is an object in one Kubernetes-style API. Kubernetes, KubeVirt and OpenStack are three
dialects of it; controllers make the objects true with real containers and real virtual machines. See ARCHITECTURE.md.
"""

__version__ = "0.1.0"
