"""Grows volumes that their claims want larger: what external-resizer does, recovery from failures included.

`decision` says to what size a claim's volume is to be grown now, and `forms` what the claim says at each step (pure);
`controller` is the shell.
"""
