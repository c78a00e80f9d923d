"""Pulling images: whose credentials are used, how many pulls go on at once, and who may use what was pulled.

`credentials` finds what secrets say of a registry, `puller` pulls in turn, `records` keeps who has pulled what,
`verification` decides who may use an image that is here already.
Upstream: `pkg/kubelet/images`, `pkg/credentialprovider`.
"""
