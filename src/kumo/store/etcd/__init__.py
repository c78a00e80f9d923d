"""The store on etcd 3, which several API servers share: `engine.EtcdStore`.

`address` says where it is and how one proves oneself, `endpoints` finds a member that answers, `layout` says where our
keys lie among etcd's and what our revisions are in its own, `following` is the watch.
"""
