"""What virt-api refuses, in upstream's words: rules over specs as pure functions that give lists of `Cause`s.

`instance` and `machine` put the rules of the other modules together, in upstream's order, since clients see the causes
in that order. Sources: the admitters of `pkg/virt-api/webhooks`, `pkg/network/admitter`, `pkg/storage/admitters`.
"""
