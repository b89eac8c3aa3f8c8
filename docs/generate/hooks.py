"""Hooks of MkDocs: the pages that are made from the code, and links to files outside docs/."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import families
import notebook
import reference
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]
OUTSIDE = "repository"  # where the site has the files of the repository that are not in docs/
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "launch/README.md")

_LINK = re.compile(r"(?P<head>!?\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config) -> Files:
    """Adds the reference, the tutorial, and the files that pages link to."""
    made = {
        "tutorial.md": notebook.page(REPOSITORY / "docs" / "tutorial.ipynb"),
        "reference/commands.md": reference.commands(),
        "reference/families.md": families.page(),
        "reference/python.md": reference.functions(REPOSITORY),
        "reference/results.md": reference.results(REPOSITORY),
        "reference/configs.md": reference.configs(REPOSITORY / "configs"),
        **{f"{OUTSIDE}/{name}": (REPOSITORY / name).read_text("utf-8") for name in PAGES},
    }
    linked = {target for file in _pages(files) for target in _targets_outside(file)}
    for name in sorted(linked):
        if (REPOSITORY / name).is_file() and name not in PAGES:
            made[f"{OUTSIDE}/{name}"] = (REPOSITORY / name).read_bytes()
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    notebook_file = (REPOSITORY / "docs" / "tutorial.ipynb").read_bytes()
    files.append(File.generated(config, "tutorial-notebook.ipynb", content=notebook_file))
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Turns the links of a page, which are those of the repository, into those of the site."""
    here = page.file.src_uri

    def relinked(match: re.Match[str]) -> str:
        target = _of_repository(here, match["target"])
        if target is None:
            return match[0]
        path = posixpath.relpath(_of_site(target), posixpath.dirname(here) or ".")
        return f"{match['head']}{path}{match['anchor'] or ''})"

    parts = _CODE.split(markdown)
    return "".join(part if n % 2 else _LINK.sub(relinked, part) for n, part in enumerate(parts))


def _pages(files: Files) -> list[File]:
    return [file for file in files if file.is_documentation_page()]


def _targets_outside(file: File) -> set[str]:
    text = Path(file.abs_src_path).read_text("utf-8")
    found = {_of_repository(file.src_uri, match["target"]) for match in _LINK.finditer(text)}
    return {name for name in found if name is not None and not name.startswith("docs/")}


def _of_repository(here: str, target: str) -> str | None:
    """The path in the repository that a link on a page means; None for other kinds of links."""
    if ":" in target or target.startswith("/"):
        return None
    own = here.removeprefix(f"{OUTSIDE}/") if here.startswith(OUTSIDE) else f"docs/{here}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), target))


def _of_site(path: str) -> str:
    if path.startswith("docs/"):
        return path.removeprefix("docs/").replace("tutorial.ipynb", "tutorial.md")
    return "index.md" if path == "README.md" else f"{OUTSIDE}/{path}"
