"""The reference, made from the code: commands, functions, results, configs."""

from __future__ import annotations

import ast
import dataclasses
import html
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

MADE = "*Made from the code.*"


def commands() -> str:
    """The help of every command: what it does, and a table of its flags."""
    from jaxmap.cli.program import COMMANDS, flags_of

    parts = [
        "# Commands\n",
        f"{MADE} `jaxmap COMMAND --help` prints the same.\n",
        "Exit codes: 0 when all that was asked is done, 2 for a bad flag or bad input, 75 when a "
        "run was told to stop (SIGTERM) and resumes when it is run again, 1 for a failure. "
        "Messages and progress go to stderr, results to stdout or to files.\n",
        *(f"- [`jaxmap {name}`](#{name}): {one.summary}" for name, one in COMMANDS.items()),
    ]
    for name, command in COMMANDS.items():
        parts += [f"\n## jaxmap {name} {{ #{name} }}\n", _paragraphs(command.details), ""]
        rows = [
            (f"`--{flag}`", _default(default) or command.need_of(flag), help_text)
            for flag, default, help_text in flags_of(name)
        ]
        parts.append(_table(("flag", "default", ""), rows))
    return "\n".join(parts) + "\n"


def functions(repository: Path) -> str:
    """Every public function, by the module that it lives in."""
    parts = [
        "# Python\n",
        f"{MADE} Every command is a function of `import jaxmap` with the parameters of its flags; "
        "most return a [result](results.md) with a table, figures and files.\n",
    ]
    for module, names in _homes(repository).items():
        title = _summary(repository, module)
        parts.append(f"## {title}\n")
        parts += [f"::: jaxmap.{name}\n" for name in names]
    return "\n".join(parts)


def results(repository: Path) -> str:
    """The objects that functions return."""
    package = griffe.load("jaxmap", search_paths=[str(repository)])
    found: dict[str, None] = dict.fromkeys(("jaxmap.results.Result", "jaxmap.results.Table"))
    for names in _homes(repository).values():
        for name in names:
            one = _target(package, f"jaxmap.{name}")
            if not one.is_function or one.returns is None:
                continue
            for part in one.returns.iterate(flat=True):
                path = getattr(part, "canonical_path", "")
                if path.startswith("jaxmap."):
                    found[_target(package, path).canonical_path] = None
    found |= dict.fromkeys(("jaxmap.store.record.Entry", "jaxmap.demos.settings.DemoConfig"))
    head = f"# Results\n\n{MADE} What the functions of [`jaxmap`](python.md) return.\n"
    return "\n".join([head, *(f"::: {path}\n" for path in found)])


def _target(package: griffe.Module, path: str) -> griffe.Object:
    """What a dotted path names in the end, through imports."""
    one = package[path.removeprefix("jaxmap.")]
    return one.final_target if one.is_alias else one


def configs(folder: Path) -> str:
    """What a config may say, and every config of the repository."""
    from jaxmap.sweeps.config_schema import OF_THE_RUN, SweepConfig, config_dict
    from jaxmap.sweeps.settings import Settings

    help_of = {**_fields(Settings), **_fields(SweepConfig)}
    defaults = config_dict().to_dict()
    rows = [(f"`{key}`", f"`{value!r}`", help_of[key]) for key, value in defaults.items()]
    assert not set(OF_THE_RUN) & set(defaults)
    parts = [
        "# Configs\n",
        f"{MADE} `jaxmap sweep --config=configs/NAME.py` reads a Python file whose `get_config()` "
        "returns these fields; `--config.FIELD=VALUE` changes one of them.\n",
        _table(("field", "default", ""), rows),
    ]
    for path in sorted(folder.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        parts += [f"\n## {path.name} {{ #{path.stem} }}\n", *_config(docstring)]
    return "\n".join(parts) + "\n"


def _config(docstring: str) -> Iterator[str]:
    """The docstring of a config: a summary, then notes such as "Cost:" with hanging indents."""
    summary, _, notes = docstring.partition("\n\n")
    yield summary.replace("\n", " ") + "\n"
    for note in re.split(r"\n(?=\w+: )", notes):
        key, _, text = note.partition(":")
        lines = [line.strip() for line in text.splitlines()]
        if key == "Command":
            yield "```\n" + "\n".join(_examples(text)) + "\n```\n"
        elif text:
            yield f"{key}\n:   {html.escape(' '.join(lines).strip(), quote=False)}\n"


def _examples(text: str) -> list[str]:
    """Lines of commands; what follows a command as a sentence becomes a comment."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return [one if one.startswith(("jaxmap", "python", "--")) else f"# {one}" for one in lines]


def _paragraphs(text: str) -> str:
    """The text of a help: indented lines are examples."""
    parts = []
    for block in re.split(r"\n\n+", text.strip("\n")):
        lines = block.splitlines()
        if all(line.startswith(" ") for line in lines):
            inside = "\n".join(line.removeprefix("  ") for line in lines)
            parts.append(f"```\n{inside}\n```")
        else:
            parts.append(html.escape(block, quote=False))
    return "\n\n".join(parts)


def _fields(kind: type) -> dict[str, str]:
    """The section "Fields:" of a dataclass's docstring, by field."""
    section = (kind.__doc__ or "").partition("Fields:\n")[2]
    found = re.findall(r"^      ?(\w+): (.*(?:\n {8,}.*)*)", section, re.MULTILINE)
    known = {field.name for field in dataclasses.fields(kind)}
    assert known <= {name for name, _ in found}, known - {name for name, _ in found}
    return {name: " ".join(text.split()) for name, text in found}


def _homes(repository: Path) -> dict[str, tuple[str, ...]]:
    import jaxmap

    return jaxmap._HOMES


def _summary(repository: Path, module: str) -> str:
    path = repository / (module.replace(".", "/") + ".py")
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or module
    return re.split(r"[.:]", docstring.splitlines()[0])[0]


def _default(value: str) -> str:
    return f"`{value}`" if value else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line(("---",) * len(head)), *map(line, rows)]) + "\n"
