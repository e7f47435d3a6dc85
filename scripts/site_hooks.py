"""What mkdocs asks while it builds the site: the pages that lie outside docs/ (README as the first page, CHANGELOG,
CONTRIBUTING), the notebook as a page, the decisions in the navigation, and the files of the repository that pages link
to, which the site then holds under source/."""

import json
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# A page of the site -> the file that it is
OUTSIDE = {"index.md": "README.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
NOTEBOOK = "notebooks/first_run"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCES = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """`decisions/` in the navigation is every file there, by its number."""
    found = [f"decisions/{path.name}" for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    config.nav = [_with_folder(entry, "decisions/", found) for entry in config.nav or []]
    return config


def _with_folder(entry: Any, folder: str, found: list[str]) -> Any:  # noqa: ANN401 - as YAML has it
    if isinstance(entry, dict):
        return {
            title: found if inner == folder else _with_folder(inner, folder, found) for title, inner in entry.items()
        }
    return [_with_folder(one, folder, found) for one in entry] if isinstance(entry, list) else entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, f"{NOTEBOOK}.md", content=notebook_page()))
    linked = {path for file in files.documentation_pages() for path in linked_sources(file)}
    for path in sorted(linked):
        files.append(File.generated(config, f"source/{path}", abs_src_path=str(ROOT / path)))
    return files


def linked_sources(file: File) -> set[str]:
    """Files outside docs/ that a page links to, but those that are pages themselves."""
    targets = [target for piece in FENCES.split(file.content_string)[::2] for target in LINK.findall(piece)]
    found = {_repository_path(file.src_uri, target) for target in targets} - set(OUTSIDE.values())
    return {path for path in found if not path.startswith("docs/") and (ROOT / path).is_file()}


def _repository_path(page: str, target: str) -> str:
    """What a link means in the repository, where README and its like lie beside docs/."""
    folder = posixpath.dirname(OUTSIDE[page]) if page in OUTSIDE else posixpath.dirname(f"docs/{page}")
    return posixpath.normpath(posixpath.join(folder, target))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the repository become links of the site."""
    uri = page.file.src_uri

    def moved(link: "re.Match[str]") -> str:
        path = _repository_path(uri, link[1])
        pages = {source: name for name, source in OUTSIDE.items()}
        if path in pages:
            place = pages[path]
        elif path.startswith("docs/"):
            place = path.removeprefix("docs/") + ("/" if (ROOT / path).is_dir() else "")
        else:
            place = f"source/{path}"
        if place == "decisions/":
            place = next(file.src_uri for file in files.documentation_pages() if file.src_uri.startswith("decisions/"))
        return str(PurePosixPath(posixpath.relpath(place, posixpath.dirname(uri) or ".")))

    pieces = FENCES.split(markdown)  # every second one is a fence, in which a link is none
    return "".join(piece if number % 2 else LINK.sub(moved, piece) for number, piece in enumerate(pieces))


def notebook_page() -> str:
    """Its cells as text, code and what the code printed."""
    notebook = json.loads((ROOT / "docs" / f"{NOTEBOOK}.ipynb").read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        outputs = cell["outputs"] if cell["cell_type"] == "code" else []
        for output in outputs:
            said = "".join(output["text"] if "text" in output else output["data"]["text/plain"])
            parts.append(f"```text\n{said.rstrip()}\n```")
    return "\n\n".join([*parts, f"[The notebook itself]({PurePosixPath(NOTEBOOK).name}.ipynb)."]) + "\n"
