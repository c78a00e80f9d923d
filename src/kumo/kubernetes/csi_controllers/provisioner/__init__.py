"""Makes volumes for claims and deletes them: what external-provisioner does for a driver.

`decision` says which claims and volumes are ours to act on, `sources` what a new volume is a copy of, `forms` what a
finished volume looks like (pure but for `sources`, which reads); `request` puts a CreateVolume together. `claims` and
`deletions` are the shells. `ownership` settles which node makes a volume that no pod waits for, `whereabouts` which one
a copy's source is on; `protection` lets go of claims and snapshots that were copied from.
"""
