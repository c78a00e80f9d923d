"""The API server: every object of the cloud, read and written over one API, kept in one store.

`server.ApiServer` is the component. A request is read (`request_info`, `bodies`, `negotiation`), its user proven
(`authentication`) and allowed (`authorization`), then handled by verb: `creating`, `updating`, `patching`, `deleting`,
`listing`, `watching`, and the subresources beside them. What a kind needs beyond its schema is in `kinds`; `admission`
completes and judges every write; `storage` makes it. Reads come from `cache`, which follows the store's watch and keeps
each object as its bytes (`entry`, `chunks`, `splice`) and tells the watchers (`watch_hub`). `registry` knows what is
served, the built-in kinds and, by `custom_resources`, those that are defined while it runs.

Talks to: the store below it, nodes through `kubelet_proxy`, other wings by the values of `kumo.machinery.extension`.
Everybody else talks to it, as a client.
"""
