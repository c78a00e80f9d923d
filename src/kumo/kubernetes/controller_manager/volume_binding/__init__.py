"""The persistent volume controller: binds claims and volumes to each other, and frees volumes whose claim is gone.

`claims` and `volumes` decide what is to be done for one object, `forms` says what a bound object looks like; all pure.
`recycling` empties volumes of the policy Recycle, `controller` is the shell. A binding is written volume first, so that
two claims can't get the same one.
"""
