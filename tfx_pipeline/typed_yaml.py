"""Typed YAML: values of option dataclasses, read from YAML nodes, checked, and built.

Options decide how a scalar is read: ``2016-01-01`` stays a text where a text is due, ``1e-3`` is a number, ``on`` is no
boolean. Faults name the file, the line, the option, what was found and what is expected.
"""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterator
from typing import Any, Final

import yaml

from preprocessing.errors import UserError
from preprocessing.options import bounds_in_words, within

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_KINDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
_LISTS: Final = {int: "a list of whole numbers", str: "a list of texts"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One option: its full name, kind of value, and of a list's members, default, documentation and bounds."""

    name: str
    kind: type
    member: type
    optional: bool
    default: Any
    doc: str
    choices: tuple[str, ...]
    minimum: float | None
    above: float | None
    maximum: float | None

    @property
    def expected(self) -> str:
        """What values it admits, in words."""
        words = _LISTS[self.member] if self.kind is tuple else _KINDS[self.kind]
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        bounds = bounds_in_words(self.minimum, self.above, self.maximum)
        return f"{words} {bounds}".strip() + (", or null" if self.optional else "")

    def admits(self, value: Any) -> bool:
        """Whether a value of the right kind, or each of a list, is also among the choices and within the bounds."""
        if self.choices:
            return value in self.choices
        values = value if self.kind is tuple else (value,)
        return self.member not in (int, float) or all(
            within(each, self.minimum, self.above, self.maximum) for each in values
        )


@functools.cache
def keys_of(kind: type) -> dict[str, Key]:
    """Every option of a dataclass by its full name, such as ``index.kind``, in the order of declaration."""
    return {key.name: key for key in _keys(kind, "")}


def _keys(kind: type, prefix: str) -> Iterator[Key]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _keys(typing.cast(type, hint), f"{prefix}{field.name}.")
            continue
        members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        (base,) = (member for member in members if member is not types.NoneType)
        yield Key(
            name=f"{prefix}{field.name}",
            kind=typing.get_origin(base) or base,
            member=(*typing.get_args(base), base)[0],
            optional=types.NoneType in members,
            default=field.default,
            doc=field.metadata["doc"],
            choices=field.metadata["choices"],
            minimum=field.metadata["minimum"],
            above=field.metadata["above"],
            maximum=field.metadata["maximum"],
        )


def read(kind: type, text: str, where: str) -> dict[str, Any]:
    """The values that a YAML text gives to options of ``kind``, by full name; ``where`` names the text in faults.

    Raises:
      UserError: the text is no YAML, or a key or a value is not what the options admit.
    """
    values: dict[str, Any] = {}
    root = _compose(text, where)
    if root is not None and not _is_null(root):
        _collect(root, "", keys_of(kind), where, values)
    return values


def read_override(kind: type, override: str, where: str) -> tuple[str, Any]:
    """Name and value of ``section.key=value``; the value is YAML, and a text may also stand as it is.

    Raises:
      UserError: there is no such option, or it does not admit the value.
    """
    name, equals, text = override.partition("=")
    if not override.isascii() and any("\ud800" <= character <= "\udfff" for character in override):
        raise UserError(f"{where} {override!a}: not UTF-8 text")
    if not equals:
        raise UserError(f"{where} {override}: expected section.key=value")
    key = _key(name.strip(), keys_of(kind), where)
    return key.name, _override(key, text, where)


def build(kind: Any, values: dict[str, Any], prefix: str = "") -> Any:
    """A dataclass of ``kind`` with some options replaced, given by full name."""
    arguments = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            arguments[name] = build(hint, values, f"{prefix}{name}.")
        elif f"{prefix}{name}" in values:
            arguments[name] = values[f"{prefix}{name}"]
    return kind(**arguments)


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise UserError(f"{where}:{line} not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())[:200]}") from error
    return node


def _collect(node: yaml.Node, prefix: str, keys: dict[str, Key], path: str, values: dict[str, Any]) -> None:
    """Adds the values of a section, and of the sections in it, to ``values`` by full name."""
    if not isinstance(node, yaml.MappingNode):
        inside = f"`{prefix[:-1]}`" if prefix else "the configuration"
        example = next(name for name in keys if name.startswith(prefix))[len(prefix) :].replace(".", ": {") + ": ..."
        raise UserError(f"{_at(path, node)}: {inside} holds options: expected lines such as `{example}`")
    seen = set()
    for key_node, value_node in node.value:
        where = _at(path, key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{where}: expected the name of an option, found a list or mapping")
        name = prefix + key_node.value
        if name in seen or name in values:
            raise UserError(f"{where}: `{name}` stands twice: keep one")
        seen.add(name)
        if any(known.startswith(f"{name}.") for known in keys):
            if not _is_null(value_node):
                _collect(value_node, f"{name}.", keys, path, values)
        else:
            values[name] = _value(_key(name, keys, where), value_node, where)


def _at(path: str, node: yaml.Node) -> str:
    return f"{path}: line {node.start_mark.line + 1}"


def _key(name: str, keys: dict[str, Key], where: str) -> Key:
    if name in keys:
        return keys[name]
    inside = [known for known in keys if known.startswith(f"{name}.")]
    if inside:
        raise UserError(f"{where}: `{name}` is a section: name one of its options, such as `{inside[0]}`")
    section, dot, last = name.rpartition(".")
    # A section that the name is in already is no answer.
    sections = dict.fromkeys(part for known in keys for part in _sections(known) if not name.startswith(f"{part}."))
    near = difflib.get_close_matches(name, [*keys, *sections], n=1, cutoff=0.75)
    if not near:
        full = {known.rpartition(".")[2]: known for known in reversed(keys)}
        near = [full[match] for match in difflib.get_close_matches(last, full, n=1, cutoff=0.75)]
    siblings = [known for known in keys if dot and known.startswith(f"{section}.")]
    known = ", ".join(siblings or dict.fromkeys(key.partition(".")[0] for key in keys))
    raise UserError(
        f"{where}: unknown option `{name}`; " + (f"did you mean `{near[0]}`?" if near else f"known: {known}")
    )


def _sections(name: str) -> Iterator[str]:
    """The sections that an option is in, such as ``input`` and ``input.columns``."""
    parts = name.split(".")[:-1]
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _override(key: Key, text: str, where: str) -> Any:
    if text == "" and key.kind in (str, tuple):
        return _checked(key, key.kind(), "empty", where)
    if key.kind is str and text[:1] not in ("'", '"'):
        # A separator such as `|` or `,` means itself, though YAML reads more into it.
        return _value(key, yaml.ScalarNode("", text), where)
    return _value(key, _compose(text, f"{where} {key.name}") or yaml.ScalarNode("", ""), where)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS


def _value(key: Key, node: yaml.Node, where: str) -> Any:
    """The value of an option from its YAML node, by the kind that the option declares."""
    if key.optional and _is_null(node):
        return None
    found = f"'{node.value:.60}'" if isinstance(node, yaml.ScalarNode) else "a list or mapping"
    if key.kind is tuple:
        members = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [_scalar(key.member, member) for member in members]
        return _checked(key, None if None in values else tuple(values), found, where)
    return _checked(key, _scalar(key.kind, node), found, where)


def _scalar(kind: type, node: yaml.Node) -> Any:
    """A scalar as ``kind``; None where it is none."""
    if not isinstance(node, yaml.ScalarNode) or _is_null(node) or (node.style is not None and kind is not str):
        return None
    if kind is bool:
        return _BOOLEANS.get(node.value)
    try:
        return kind(node.value)
    except ValueError:
        return None


def _checked(key: Key, value: Any, found: str, where: str) -> Any:
    if value is None or not key.admits(value):
        raise UserError(f"{where}: `{key.name}` is {found}: expected {key.expected}")
    return value
