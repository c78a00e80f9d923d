"""The garbage collector: deletes what its owners left behind, in the background, the foreground, or not at all.

`graph` knows who owns whom by uid, over all resources that the monitor watches; `decision` says what happens to one
object; `collector` asks the API server whether owners are truly gone and writes what was decided.
"""
