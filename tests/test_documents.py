"""Pages: links lead somewhere, and the commands and messages that they show exist."""

from __future__ import annotations

import ast
import json
import re
import runpy
import tomllib

import pytest
from support import REPOSITORY
from support.checkpoints import jaxmap

from jaxmap.architectures.registry import families, refused
from jaxmap.cli.output import as_flags
from jaxmap.cli.program import COMMANDS, define

DOCS = REPOSITORY / "docs"
PAGES = sorted(
    path
    for folder in (".", "docs", "docs/extend", "docs/guides", "launch")
    for path in (REPOSITORY / folder).glob("*.md")
)
# Pages of the site that docs/generate makes.
MADE = {
    DOCS / "reference" / f"{name}.md"
    for name in ("commands", "configs", "families", "python", "results")
}
COMMAND = re.compile(r"(?:jaxmap|--) (?P<name>[a-z]+) (?P<flags>[^`#\n]*)")


def of_page(path):
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    inside = [link for link in links if not re.match(r"\w+:", link)]
    paths = {link: (page.parent / link.partition("#")[0]).resolve() for link in inside}
    missing = [link for link, path in paths.items() if not (path.exists() or path in MADE)]
    assert missing == []


def flags_shown(text: str) -> set[tuple[str, str]]:
    """(command, flag) of each command line in a page."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return {
        (match["name"], flag)
        for match in COMMAND.finditer(joined)
        if match["name"] in COMMANDS
        for flag in re.findall(r"--(\w+)", match["flags"])
    }


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_commands_have_the_flags_that_a_page_shows(page):
    shown = flags_shown(page.read_text("utf-8"))
    known = {name: {*define(name), "config"} for name, _ in shown}
    assert {(name, flag) for name, flag in shown if flag not in known[name]} == set()


def test_command_lines_are_found():
    text = "`jaxmap kl --out=x` and\n\n    jaxmap score --store=a \\\n        --models=b  # --c\n"
    text += "python launch/slurm.py --dry_run -- sweep --config=c --config.field=1 --stor=d\n"
    assert flags_shown(text) == {
        ("kl", "out"), ("score", "store"), ("score", "models"), ("sweep", "config"),
        ("sweep", "stor"),
    }  # fmt: skip


def strings_of_the_code() -> list[str]:
    """Every string of the package, with … for what is filled in, parameters as flags."""
    flags = {flag for name in COMMANDS for flag in define(name)}
    found = []
    for path in (REPOSITORY / "jaxmap").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            pieces = [
                part.value if isinstance(part, ast.Constant) else "…"
                for part in parts
                if not isinstance(part, ast.Constant) or isinstance(part.value, str)
            ]
            if isinstance(node, ast.JoinedStr | ast.Constant):
                found.append(as_flags("".join(map(str, pieces)), flags))
    return found


def messages_of_the_faq() -> list[str]:
    text = (DOCS / "faq.md").read_text("utf-8")
    return re.findall(r"^```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)


def test_the_messages_that_the_faq_explains_are_those_of_the_code():
    messages, strings = messages_of_the_faq(), strings_of_the_code()
    assert len(messages) > 20
    assert [one for one in messages if not any(one in string for string in strings)] == []
    assert not any("this message is in no file" + "!" in string for string in strings)


def test_every_page_of_the_site_is_in_its_contents():
    contents = (REPOSITORY / "mkdocs.yml").read_text("utf-8")
    pages = [str(page.relative_to(DOCS)) for page in PAGES if DOCS in page.parents]
    assert [page for page in pages if f": {page}\n" not in contents] == []


def test_pictures_show_the_demo_that_there_is():
    """`make pictures` draws them anew."""
    facts = json.loads((DOCS / "pictures" / "pictures.json").read_text("utf-8"))
    names = facts.pop("pictures")
    generate = runpy.run_path(str(DOCS / "generate" / "pictures.py"))
    assert facts == generate["inputs"]()
    for name in names:
        assert (DOCS / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_extras_that_pages_name_exist():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    for page in PAGES:
        text = page.read_text("utf-8")
        named = re.findall(r"pip install (?:-e )?'[^'\[]*\.?\[([\w,]+)\]'", text)
        assert {one for names in named for one in names.split(",")} <= {*extras, "cuda13", "tpu"}
        assert not re.search(r"pip install '?jaxmap", text), page  # it is on no index


def test_messages_name_lines_of_pip_that_work():
    assert [one for one in strings_of_the_code() if re.search(r"pip install '?jaxmap", one)] == []


def test_the_page_of_types_has_what_the_command_prints():
    """Every type, what is inside it, its paper, and every reason of a type without a page."""
    page = runpy.run_path(str(DOCS / "generate" / "families.py"))["page"]()
    printed = jaxmap("families").out
    joined = " ".join(printed.split())
    listed = re.findall(r"^\| `(\S+)` \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert {kind for kind, *_ in listed} == set(families())
    for kind, layers, paper in listed:
        row = next(line for line in printed.splitlines() if line.startswith(f"{kind} "))
        assert row.endswith(f"  {paper}")
        if families()[kind].text_type:
            assert layers == f"`{families()[kind].text_type}`"
        elif layers:
            assert f"  {layers}  " in row
    for reason in set(refused().values()):
        assert f" | {reason} |\n" in page
        assert f": {reason}" in joined
    assert all(f"`{kind}`" in page.partition("{ #refused }")[2] for kind in refused())


def test_the_readme_counts_the_types():
    whole = sum(bool(family.text_type) for family in families().values())
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert f"{len(families())} in all, of which {whole} are checkpoints with pictures" in readme
