"""job.json of a run that an earlier runjob made, read by the schema of today.

A field that was added since takes today's default, and its origin says so: `added since: default`. A field that today's
schema lacks is refused, since nobody here knows what it asks for; except one whose origin begins like that: a later
runjob has added it for itself, for a run whose own code does without. Decision 0016 says why.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runjob.schemas.errors import RunjobError
from runjob.schemas.problems import ADDED_SINCE, DEFAULT
from runjob.schemas.schema import TAGS, Schema, bundled_schema, follow, types_of

# The name of a field's origin where nobody wrote it, and it is younger than the run
ADDED_DEFAULT = f"{ADDED_SINCE}{DEFAULT.file}"


@dataclass(kw_only=True)
class Reading:
    """A walk over plain values by one schema. Afterwards: `unknown` and `missing`, the paths of fields that the schema
    lacks and of those that have no default; `origins`, with those of what was filled in."""

    schema: Schema
    origins: dict[str, str]
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def job(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values with every default that they lack."""
        found: dict[str, Any] = self.value(values, self.schema, "")
        return found

    def value(self, value: Any, part: Schema, path: str, *, added: bool = False) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict):
            return self.mapping(value, part, path, added=added)
        if added:
            self.origins[path] = ADDED_DEFAULT
        if isinstance(value, list):
            items = self.branch(part, "array").get("items", {})
            origins, self.origins = self.origins, {}  # a list is one leaf
            read = [self.value(item, items, f"{path}[{i}]", added=added) for i, item in enumerate(value)]
            self.origins = origins
            return read
        return value

    def mapping(self, value: dict[str, Any], part: Schema, path: str, *, added: bool) -> dict[str, Any]:
        whole = self.variant(self.branch(part, "object"), value, path)
        fields: Schema = whole.get("properties", {})
        closed = whole.get("additionalProperties", True) is False
        read: dict[str, Any] = {}
        if added and not value and not closed:
            self.origins[path] = ADDED_DEFAULT
        for key in [*fields, *(key for key in value if key not in fields)]:
            here = f"{path}.{key}" if path else key
            if key in fields and key in value:
                read[key] = self.value(value[key], fields[key], here, added=added)
            elif key in fields:
                self.fill(read, key, fields[key], here)
            elif not closed:
                read[key] = value[key]
            elif not self.forget_added(here):
                self.unknown.append(here)
        return read

    def fill(self, read: dict[str, Any], key: str, part: Schema, here: str) -> None:
        whole = follow(part, self.schema)
        if "default" in whole:
            read[key] = self.value(copy.deepcopy(whole["default"]), part, here, added=True)
        else:
            self.missing.append(here)

    def forget_added(self, here: str) -> bool:
        """Was all of this field added by a later runjob for itself? Then it goes."""
        own = leaves(self.origins, here)
        if not own or not all(self.origins[path].startswith(ADDED_SINCE) for path in own):
            return False
        for path in own:
            del self.origins[path]
        return True

    def branch(self, part: Schema, kind: str) -> Schema:
        """The branch of an `anyOf` that admits this JSON type, or the (followed) part itself."""
        whole = follow(part, self.schema)
        branches = [follow(one, self.schema) for one in whole.get("anyOf", ())]
        return next((one for one in branches if kind in types_of(one)), whole)

    def variant(self, whole: Schema, value: dict[str, Any], path: str) -> Schema:
        """The branch of a `oneOf` whose tags the value has. Where there is none its tags are unknown here, and nothing
        can be said of the rest."""
        if "oneOf" not in whole:
            return whole
        tags = {tag: value[tag] for tag in TAGS if tag in value}
        for branch in (follow(one, self.schema) for one in whole["oneOf"]):
            words = {tag: follow(one, self.schema).get("const") for tag, one in branch["properties"].items()}
            if all(words.get(tag) in (None, word) for tag, word in tags.items()):
                return branch
        self.unknown.append(f"{path}.{next(iter(tags), TAGS[0])}")
        return {}


def leaves(origins: dict[str, str], path: str) -> list[str]:
    """The paths at and below this one that have an origin of their own."""
    return [one for one in origins if one == path or one.startswith(f"{path}.")]


def complete(values: dict[str, Any], origins: dict[str, str], file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and origins as today's schema has them. RunjobError names every field that it can't read, and who can."""
    reading = Reading(schema=bundled_schema(), origins=dict(origins))
    read = reading.job(values)
    if reading.unknown or reading.missing:
        import importlib.metadata  # 40 ms that every supervisor and worker would pay

        said = [f"{path} is not known to runjob {importlib.metadata.version('runjob')}" for path in reading.unknown]
        said += [f"{path} is missing and has no default" for path in reading.missing]
        raise unreadable(file, "; ".join(said))
    return read, reading.origins


def unreadable(file: Path, why: str) -> RunjobError:
    """With the version that made the run, and the command by which its own code still reads it."""
    from runjob.schemas.run import read_json

    code = file.parent / "code"
    if not (code / "CODE.json").exists():
        return RunjobError(f"{file}: {why}; another version of runjob made it, and does")
    facts = read_json(code / "CODE.json")
    commit = f" (commit {facts['commit'][:8]})" if "commit" in facts else ""
    command = f"PYTHONSAFEPATH=1 PYTHONPATH={code} python -m runjob.runner status {file.parent.name}"
    return RunjobError(
        f"{file}: {why}; the run was made by runjob {facts['version']}{commit}, whose code lies beside it and still "
        f"serves it: {command}"
    )
