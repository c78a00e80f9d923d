"""The namespace controller: empties a namespace that is being deleted, says how far it got, and lets it go.

`content` is pure (conditions from what is left); `controller` deletes by discovery, pods first.
"""
