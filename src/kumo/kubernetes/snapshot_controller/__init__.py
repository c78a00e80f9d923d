"""The snapshot controller: binds VolumeSnapshots to VolumeSnapshotContents, whichever driver cuts the snapshots.

What external-snapshotter's controller does beside the API server. `definitions` are the custom resources that it brings
along, `decision` and `forms` say what holds of them and what they look like (pure), `controller` is the shell. Cutting
and deleting snapshots is the driver's controllers' work, which see the contents only.
"""
