"""Custom resources: what a CustomResourceDefinition must obey, and what the objects that it defines must.

`definition` has the rules of the definition itself (apiextensions-apiserver's validation), with `structural`,
`schemas`, `defaults` and `rule_checks` for its schemas; `rules` runs the CEL rules of a schema on objects.
"""
