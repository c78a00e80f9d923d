"""Admission policies by objects: ValidatingAdmissionPolicy and MutatingAdmissionPolicy, with their bindings.

`definition` reads the objects and compiles their expressions when first used, `index` knows which policies a request
may concern, `constraints` and `parameters` decide whether and with what, `validating` and `mutating` apply them;
`type_checking` tells in a policy's status what is wrong with its expressions, run by `status`.

Talks to: the object cache (`Reader`), the registry (kinds of parameters, equivalent versions), CEL, the `Authorizer`.
"""
