"""Reads the FHIR Shorthand of ``fhir_profiles/`` as a table of rules, and checks FHIR JSON by it.

It knows the part of the language that these files use, one rule per line, and refuses the rest:
nothing is passed over in silence. SUSHI stays the compiler; this keeps code and profiles together
where there is no Node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

UCUM = "http://unitsofmeasure.org"
STRING = r'"((?:[^"\\]|\\.)*)"'
_KEYWORD = re.compile(r"^(?P<key>[A-Z]\w+): (?P<value>.+)$")
_RULE_SET = re.compile(r"^(?P<name>\w+)\((?P<names>[^)]*)\)$")
_CODE = re.compile(rf"^(?P<system>[^\s#]*)#(?P<code>\S+)(?: {STRING})?$")
_AMOUNT = re.compile(rf"^(?:(?P<value>[\d.]+) )?'(?P<unit>[^']+)'(?: {STRING})?$")
_CONCEPT = re.compile(rf"^\* #(?P<code>\S+) {STRING} {STRING}$")
_MEMBER = re.compile(r"^\* (?P<system>\$[\w-]+)#(?P<code>\S+)$")
_RULES = {
    "card": re.compile(r"^\* (?P<path>\S+) (?P<low>\d+)\.\.(?P<high>\d+|\*)$"),
    "fixed": re.compile(r"^\* (?P<path>[^\s^]+) = (?P<value>.+)$"),
    "only": re.compile(r"^\* (?P<path>\S+) only (?P<value>.+)$"),
    "from": re.compile(r"^\* (?P<path>\S+) from (?P<value>\w+) \(required\)$"),
    "contains": re.compile(r"^\* (?P<path>\S+) contains (?P<value>.+)$"),
    "obeys": re.compile(r"^\* (?:(?P<path>\S+) )?obeys (?P<value>.+)$"),
    "about": re.compile(r"^\* (?P<path>\S+)? ?\^(?P<key>\S+) = (?P<value>.+)$"),
}

Json = Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One constraint on one path; `low` and `high` only for a cardinality."""

    kind: str
    path: str
    value: Json = None
    low: int = 0
    high: float = float("inf")


@dataclass(slots=True)
class Definition:
    """One Profile, Instance, CodeSystem, ValueSet or Invariant."""

    kind: str
    name: str
    keywords: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


class Fsh:
    """All definitions of some FSH texts."""

    def __init__(self, text: str) -> None:
        self.aliases = dict(re.findall(r"^Alias: (\$[\w-]+) = (\S+)$", text, re.MULTILINE))
        self.definitions: dict[str, Definition] = {}
        for line in text.splitlines():
            self._take(line)

    def _take(self, line: str) -> None:
        if not line or line.startswith(("//", "Alias: ")):
            return
        if line.startswith("* "):
            next(reversed(self.definitions.values())).lines.append(line)
            return
        found = _KEYWORD.match(line)
        if not found:
            raise ValueError(f"not understood: {line}")
        if found["key"] in {
            "Profile",
            "Instance",
            "CodeSystem",
            "ValueSet",
            "Invariant",
            "RuleSet",
        }:
            self.definitions[found["value"]] = Definition(found["key"], found["value"])
        else:
            last = next(reversed(self.definitions.values()))
            last.keywords[found["key"]] = found["value"].strip('"')

    def named(self, kind: str) -> tuple[str, ...]:
        """Return the names of the definitions of a kind, in order."""
        return tuple(one.name for one in self.definitions.values() if one.kind == kind)

    def keyword(self, name: str, key: str) -> str:
        """Return what follows a keyword in a definition."""
        return self.definitions[name].keywords[key]

    def concepts(self, code_system: str) -> dict[str, str]:
        """Return code and display of each concept."""
        found = [_CONCEPT.match(line) for line in self.definitions[code_system].lines]
        return {one["code"]: unquoted(one[2]) for one in found if one}

    def members(self, value_set: str) -> frozenset[tuple[str, str]]:
        """Return system and code of each member."""
        found = [_MEMBER.match(line) for line in self.definitions[value_set].lines]
        return frozenset((self.aliases[one["system"]], one["code"]) for one in found if one)

    def rules(self, name: str) -> Iterator[Rule]:
        """Yield the rules of a Profile or Instance, its rule sets' among them.

        Raises
        ------
        ValueError
            For a line that is none of the rules known here.

        """
        for line in self._expanded(self.definitions[name].lines):
            for kind, pattern in _RULES.items():
                if found := pattern.match(line):
                    yield from self._made(kind, found)
                    break
            else:
                raise ValueError(f"not understood: {line}")

    def _expanded(self, lines: list[str]) -> Iterator[str]:
        for line in lines:
            if not line.startswith("* insert "):
                yield line
                continue
            called = line.removeprefix("* insert ")
            call = _RULE_SET.match(called)
            if call is None:
                yield from self.definitions[called].lines
                continue
            given = [value.strip() for value in call["names"].split(",")]
            yield from self._filled(call["name"], given)

    def _filled(self, rule_set: str, given: list[str]) -> Iterator[str]:
        for name, definition in self.definitions.items():
            declared = _RULE_SET.match(name)
            if declared and declared["name"] == rule_set:
                names = [one.strip() for one in declared["names"].split(",")]
                for line in definition.lines:
                    for parameter, value in zip(names, given, strict=True):
                        line = line.replace(f"{{{parameter}}}", value)  # noqa: PLW2901
                    yield line

    def _made(self, kind: str, found: re.Match[str]) -> Iterator[Rule]:
        path = found["path"] or ""
        if kind == "card":
            yield _cardinality(path, found["low"], found["high"])
        elif kind == "contains":
            for member in found["value"].split(" and "):
                name, _, span = member.partition(" ")
                yield _cardinality(f"{path}[{name}]", *span.split(".."))
        elif kind == "obeys":
            for name in found["value"].split(" and "):
                yield Rule(kind, path, self.keyword(name, "Expression"))
        elif kind == "fixed":
            yield Rule(kind, path, self.value(path, found["value"]))
        elif kind == "about":
            yield Rule(found["key"], path, found["value"].strip('"'))
        else:
            yield Rule(kind, path, found["value"])

    def value(self, path: str, text: str) -> Json:
        """Return the JSON of an assigned value, as the element at `path` holds it."""
        if found := re.fullmatch(STRING, text):
            return unquoted(found[1])
        if found := _AMOUNT.match(text):
            amount = {"system": UCUM, "code": found["unit"]}
            if found["value"]:
                amount |= {"value": float(found["value"])}
            return amount | ({"unit": found[3]} if found[3] else {})
        if found := _CODE.match(text):
            return self._coded(path, found)
        return int(text) if text.isdigit() else text

    def _coded(self, path: str, found: re.Match[str]) -> Json:
        if not found["system"]:
            return found["code"]
        system = self.aliases[found["system"]]
        coding = {"system": system, "code": found["code"]}
        if found[3]:
            coding["display"] = unquoted(found[3])
        is_coding = bare(path).rpartition(".")[2] in {"coding", "security"}
        return coding if is_coding else {"coding": [coding]}


class Profile:
    """The rules of one profile, ready to check resources by."""

    def __init__(
        self, fsh: Fsh, name: str, predicates: Mapping[str, Callable[[Json], bool]]
    ) -> None:
        self.name = name
        self.resource_type = fsh.keyword(name, "Parent")
        self.rules = tuple(fsh.rules(name))
        self._fsh, self._predicates = fsh, predicates
        self._by = {rule.path: rule.value for rule in self.of("slicing.discriminator.path")}

    def of(self, kind: str) -> Iterator[Rule]:
        """Yield the rules of one kind."""
        return (rule for rule in self.rules if rule.kind == kind)

    def violations(self, resource: Json) -> list[str]:
        """Return each rule that a resource breaks, as path and kind."""
        found = [
            f"{rule.path} {rule.kind}" for rule in self.rules if not self._holds(rule, resource)
        ]
        return found if resource["resourceType"] == self.resource_type else ["resourceType"]

    def slice_of(self, path: str, node: Json) -> str | None:
        """Return the slice that a member of the sliced element at `path` falls into."""
        by = self._by.get(path)
        if by is None:
            return None
        inside = "" if by == "$this" else by
        for rule in self.of("fixed"):
            named = re.fullmatch(
                rf"{re.escape(path)}\[(\w+)\]{inside and '[.]' + inside}", rule.path
            )
            if named and matches(rule.value, node.get(inside) if inside else node):
                return named[1]
        return None

    def at(self, path: str, root: Json) -> list[Json]:
        """Return every value at a path; slices and ``[x]`` are resolved."""
        nodes, so_far = [root], ""
        for segment in path.split(".") if path else ():
            name, _, of_slice = segment.removesuffix("]").partition("[")
            so_far = f"{so_far}.{name}".lstrip(".")
            is_choice = of_slice == "x"
            nodes = [value for node in nodes for value in children(node, name, is_choice=is_choice)]
            if of_slice and not is_choice:
                nodes = [node for node in nodes if self.slice_of(so_far, node) == of_slice]
        return nodes

    def _holds(self, rule: Rule, resource: Json) -> bool:
        if rule.kind == "card":
            parent, _, last = rule.path.rpartition(".")
            counts = [len(self._below(parent, last, node)) for node in self.at(parent, resource)]
            return all(rule.low <= count <= rule.high for count in counts)
        if rule.kind == "only":
            return self._is_only(rule, resource)
        return all(self._allows(rule, node) for node in self.at(rule.path, resource))

    def _allows(self, rule: Rule, node: Json) -> bool:
        if rule.kind == "fixed":
            return matches(rule.value, node)
        if rule.kind == "from":
            return codes_of(node) <= self._fsh.members(rule.value)
        if rule.kind == "obeys":
            return self._predicates[rule.value](node)
        is_closed = rule.kind == "slicing.rules" and rule.value == "#closed"
        return not is_closed or self.slice_of(rule.path, node) is not None

    def _below(self, parent: str, last: str, node: Json) -> list[Json]:
        name, _, of_slice = last.removesuffix("]").partition("[")
        found = children(node, name, is_choice=of_slice == "x")
        if not of_slice or of_slice == "x":
            return found
        path = f"{parent}.{name}".lstrip(".")
        return [one for one in found if self.slice_of(path, one) == of_slice]

    def _is_only(self, rule: Rule, resource: Json) -> bool:
        targets = re.fullmatch(r"Reference\((.+)\)", rule.value)
        if targets:
            allowed = {self._type_of(name) for name in targets[1].split(" or ")}
            references = [node["reference"] for node in self.at(rule.path, resource)]
            return all(reference.split("/")[-2] in allowed for reference in references)
        parent, _, last = rule.path.rpartition(".")
        name = last.removesuffix("[x]")
        wanted = name + rule.value[0].upper() + rule.value[1:]
        used = {
            key for node in self.at(parent, resource) for key in node if is_choice_of(name, key)
        }
        return used <= {wanted}

    def _type_of(self, name: str) -> str:
        known = name in self._fsh.definitions
        return self._fsh.keyword(name, "Parent") if known else name


def children(node: Json, name: str, *, is_choice: bool = False) -> list[Json]:
    """Return the values of an element, none if it is absent; any type of a choice."""
    keys = [key for key in node if is_choice_of(name, key)] if is_choice else [name]
    values = [node[key] for key in keys if isinstance(node, dict) and key in node]
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def is_choice_of(name: str, key: str) -> bool:
    """Tell whether a member is the element ``name[x]`` with some type."""
    return re.fullmatch(rf"{name}[A-Z]\w*", key) is not None


def matches(pattern: Json, node: Json) -> bool:
    """Tell whether a value has everything that a FHIR pattern has."""
    if isinstance(pattern, dict):
        return isinstance(node, dict) and all(
            key in node and matches(value, node[key]) for key, value in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(node, list) and all(any(matches(p, n) for n in node) for p in pattern)
    return bool(pattern == node)


def codes_of(concept: Json) -> set[tuple[str, str]]:
    """Return system and code of each coding of a CodeableConcept."""
    return {(coding["system"], coding["code"]) for coding in concept.get("coding", [])}


def bare(path: str) -> str:
    """Return a path without slices and positions."""
    return re.sub(r"\[[^\]]*\]", "", path)


def unquoted(text: str) -> str:
    """Return a FSH string's content without its escapes."""
    return re.sub(r"\\(.)", r"\1", text)


def _cardinality(path: str, low: str, high: str) -> Rule:
    return Rule("card", path, None, int(low), float("inf") if high == "*" else int(high))
