"""Text to HTML: the only room where a tag is written around something that a user wrote, so that nothing of a user's
is ever a tag."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Html:
    """Text that is HTML already. A plain str is not, and is escaped wherever it is put into one."""

    text: str

    def __str__(self) -> str:
        return self.text


Content = str | Html


def escaped(content: Content) -> str:
    return content.text if isinstance(content, Html) else html.escape(content, quote=True)


def tag(name: str, /, *contents: Content, **attributes: str | bool) -> Html:
    """An element; `class_` and `for_` are written without their underscore, `aria_label` with a dash.

    >>> str(tag("p", "a < b", Html("<br>"), class_="x"))
    '<p class="x">a &lt; b<br></p>'
    """
    return Html(f"<{name}{_written(attributes)}>{''.join(map(escaped, contents))}</{name}>")


def void(name: str, /, **attributes: str | bool) -> Html:
    """An element without content, as `input`."""
    return Html(f"<{name}{_written(attributes)}>")


def _written(attributes: dict[str, str | bool]) -> str:
    parts = []
    for name, value in attributes.items():
        plain = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {plain}")
        elif value is not False:
            parts.append(f' {plain}="{html.escape(str(value), quote=True)}"')
    return "".join(parts)


def joined(contents: Iterable[Content]) -> Html:
    return Html("".join(map(escaped, contents)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """The first cell is the row's heading; `differs` where the runs don't agree."""

    cells: Sequence[Content]
    differs: bool = False


def table(name: str, head: Sequence[str], rows: Iterable[Row], *, numbers: Sequence[int] = ()) -> Html:
    """A table in a region of its own that scrolls sideways, by keyboard too, so that the page never does. `numbers`:
    the columns that stand at the right."""
    titles = [tag("th", title, scope="col", **_number(place, numbers)) for place, title in enumerate(head)]
    body = [
        tag(
            "tr",
            tag("th", row.cells[0], scope="row"),
            *(tag("td", cell, **_number(place, numbers)) for place, cell in enumerate(row.cells[1:], 1)),
            **({"class_": "differs"} if row.differs else {}),
        )
        for row in rows
    ]
    drawn = tag("table", tag("caption", name), tag("thead", tag("tr", *titles)), tag("tbody", *body))
    return tag("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=name)


def _number(place: int, numbers: Sequence[int]) -> dict[str, str | bool]:
    return {"class_": "number"} if place in numbers else {}


def section(identity: str, title: str, *contents: Content) -> Html:
    return tag(
        "section", tag("h2", title, id=f"{identity}-title"), *contents, aria_labelledby=f"{identity}-title", id=identity
    )
