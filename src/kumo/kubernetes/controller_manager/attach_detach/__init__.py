"""The attach/detach controller: attaches CSI volumes to the nodes of the pods that use them, and detaches them after.

It attaches by making a VolumeAttachment, which the driver's external attacher makes true. These objects are all the
memory there is, so that a controller that was killed goes on where it stood. `volumes` says what is attachable and how
things are called, `decision` what is to be done for one node (both pure), `messages` what pods are told; the shell is
`controller`.
"""
