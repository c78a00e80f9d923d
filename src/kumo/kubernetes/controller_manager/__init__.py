"""kube-controller-manager: the controllers that make built-in objects true.

Each looks at the world as it is, never at single events.
Every decision is a pure function in a module without I/O; the shells read informers and write through a client. They
talk to the API server alone and meet the other components in objects. `composition.controllers` makes all of them.
"""

from kumo.kubernetes.controller_manager.composition import ControllerManagerConfig, controllers

__all__ = ["ControllerManagerConfig", "controllers"]
