"""The object model, without any I/O: what an object is, how it is named, selected, checked, changed and refused.

Every other room imports this one; it imports none. Objects are plain JSON-shaped dictionaries (`Object`); the schema
that describes them is data (`kumo.api.schema`).
"""
