"""`--set a.b=c`: each one becomes a node in the tree of the job file, before the schema sees it; an item of a list goes
by its number, `--set data.sources.0.weight=2`, or as messages write it, `data.sources[0].weight`.

So the schema types it, rules judge the merged job, and a mistake is reported with the argument that made it.
"""

from collections.abc import Sequence

from runjob.schemas.problems import SET, JobFileError, Mark, Problem, with_dots
from runjob.schemas.scalars import resolve_scalar
from runjob.schemas.yaml import Entry, ListNode, MapNode, Node, Scalar, compose_text


def apply_sets(tree: Node, sets: Sequence[str]) -> tuple[Node, list[Problem]]:
    """The tree with every `PATH=VALUE` in it, the last one of a path standing, and those that could not be read."""
    problems: list[Problem] = []
    for text in sets:
        mark = Mark(f"{SET}{text}", 0, 0)
        if not text.isascii() and text != text.encode("utf-8", "replace").decode("utf-8"):
            problems.append(Problem.at(mark, "", "not UTF-8, so it could not be written to job.json"))
            continue
        path, equals, value = text.partition("=")
        keys = _keys(path)
        if not equals or not all(keys):
            said = "expected PATH=VALUE such as `training.length=30 steps`"
            problems.append(Problem.at(mark, "", said))
            continue
        if keys[0] == "extends":
            problems.append(Problem.at(mark, "", "files are laid over each other before --set; write it in the file"))
            continue
        try:
            tree = graft(tree, keys, _value_node(value, mark), mark, above=[])
        except JobFileError as error:
            problems.extend(error.problems)
    return tree, problems


def _keys(path: str) -> list[str]:
    """Of a matrix the keys are paths themselves: `matrix.training.length` and `matrix.zip.training.length`."""
    dotted = with_dots(path)
    for above in (["matrix", "zip"], ["matrix", "exclude"], ["matrix"]):
        begin = ".".join([*above, ""])
        if dotted.startswith(begin):
            rest = dotted.removeprefix(begin)
            return [*above, *(rest.split(".", 1) if above[-1] == "exclude" else [rest])]
    return dotted.split(".")


def _value_node(text: str, mark: Mark) -> Node:
    """`[a, b]`, `{a: 1}` and quoted text as YAML reads them; anything else is one scalar, even with `: ` in it."""
    if text[:1] not in ("[", "{", '"', "'"):
        return Scalar(resolve_scalar(text), text, True, mark)
    try:
        document = compose_text(text, mark.file)
    except JobFileError as error:
        raise _at_argument(error.problems, mark) from error
    if document.problems:
        raise _at_argument(document.problems, mark)
    return _moved(document.node, mark)


def _at_argument(problems: Sequence[Problem], mark: Mark) -> JobFileError:
    return JobFileError([Problem.at(mark, "", problem.message) for problem in problems])


def _moved(node: Node, mark: Mark) -> Node:
    """The same tree, all of it said to come from the argument: it has no line."""
    if isinstance(node, MapNode):
        return MapNode({key: Entry(mark, _moved(entry.node, mark)) for key, entry in node.entries.items()}, mark)
    if isinstance(node, Scalar):
        return Scalar(node.value, node.text, node.plain, mark)
    return type(node)(tuple(_moved(item, mark) for item in node.items), mark)


def graft(tree: Node, keys: list[str], value: Node, mark: Mark, *, above: list[str]) -> Node:
    """A new tree with the value at `keys`; nodes are shared by aliases, so none is changed in place. `above` leads to
    `tree`."""
    if not keys:
        return value
    key, rest, here = keys[0], keys[1:], [*above, keys[0]]
    if isinstance(tree, Scalar) and tree.value is None:
        tree = MapNode({}, mark, partial=True)
    if isinstance(tree, ListNode):
        place = _place_in(tree, key, mark, where=".".join(above))
        changed = graft(tree.items[place], rest, value, mark, above=here)
        return ListNode((*tree.items[:place], changed, *tree.items[place + 1 :]), mark)
    if not isinstance(tree, MapNode):
        said = f"`{'.'.join(above)}` holds no keys in the job file, so none can be set in it"
        raise JobFileError([Problem.at(mark, "", said)])
    entry = tree.entries.get(key, Entry(mark, MapNode({}, mark, partial=True)))
    grafted = Entry(entry.mark if rest else mark, graft(entry.node, rest, value, mark, above=here))
    return MapNode({**tree.entries, key: grafted}, tree.mark, tree.partial)


def _place_in(tree: ListNode, key: str, mark: Mark, *, where: str) -> int:
    if key.isdecimal() and int(key) < len(tree.items):
        return int(key)
    count = len(tree.items)
    last = f" to {count - 1}" if count > 1 else ""
    known = f"its items are numbered 0{last}" if count else "it has no items"
    raise JobFileError([Problem.at(mark, "", f"`{where}` is a list and has no `{key}`; {known}")])
