"""Glance: images, API v2. An image is an `Image` object in its project's namespace and, once uploaded, a file named by
the SHA-512 of its content. Talks to: the API server (as the caller for what the caller does, as itself for the status
of an upload and for images of other projects that are shared), the disk, and the `DiskStore` when an image is deleted.
"""
