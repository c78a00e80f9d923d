"""XML as values, written only: what the domain converter needs, without the megabytes of a parser."""

from __future__ import annotations

from typing import NamedTuple


class Element(NamedTuple):
    """One element; `content` is either text or child elements."""

    tag: str
    attributes: dict[str, str]
    content: str | tuple[Element, ...]


def element(tag: str, *content: str | Element | None, **attributes: str | int | None) -> Element:
    """An element of the given children (or of one text). None among children or attributes stands for "not there".

    A trailing underscore of an attribute's name is dropped (`type_`), a double one stands for a colon (`xmlns__qemu`).
    """
    named = {k.rstrip("_").replace("__", ":"): str(v) for k, v in attributes.items() if v is not None}
    children = tuple(c for c in content if c is not None)
    if len(children) == 1 and isinstance(children[0], str):
        return Element(tag, named, children[0])
    return Element(tag, named, tuple(c for c in children if isinstance(c, Element)))


def escape(text: str) -> str:
    """The text with XML's five special characters as entities."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;")):
        text = text.replace(character, entity)
    return text


def render(node: Element, indent: str = "") -> str:
    """The element as indented text that ends with a newline."""
    start = f"{indent}<{node.tag}" + "".join(f' {k}="{escape(v)}"' for k, v in node.attributes.items())
    if not node.content:
        return f"{start}/>\n"
    if isinstance(node.content, str):
        return f"{start}>{escape(node.content)}</{node.tag}>\n"
    inner = "".join(render(child, indent + "  ") for child in node.content)
    return f"{start}>\n{inner}{indent}</{node.tag}>\n"
