"""Priority and fairness: whose request is served next when not all can be served at once.

FlowSchemas sort requests into flows, PriorityLevelConfigurations say how many of a level's requests are in progress at
a time and how the others queue. Talks to: the API server's cache (what the objects say), a `Client` (the default
objects and the conditions of flow schemas).
"""

from kumo.kubernetes.apiserver.flowcontrol.controller import FlowController
from kumo.kubernetes.apiserver.flowcontrol.flows import Flow, Level, Place
from kumo.kubernetes.apiserver.flowcontrol.gate import Gate, InFlightLimits, TooManyRequests

__all__ = ["Flow", "FlowController", "Gate", "InFlightLimits", "Level", "Place", "TooManyRequests"]
