"""The replica set controller: keeps as many pods of a template as `spec.replicas` says.

`ranking` says which pods go first, `status` what the object reports; `controller` is the shell around both.
"""
