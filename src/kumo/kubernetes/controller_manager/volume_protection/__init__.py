"""The protection controllers: claims, volumes and attributes classes stay until nobody uses them any more.

Admission gives each a finalizer when it is made (StorageObjectInUseProtection); these take it away when the object is
deleted and unused, and give it to objects from before. `usage` says what is in use (pure).
"""
