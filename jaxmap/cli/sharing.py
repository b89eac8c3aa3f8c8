"""Stores on the Hub: push, pull."""

from __future__ import annotations

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import Command, define_store, string
from jaxmap.cli.output import as_flags


def _define_repo(values: flags.FlagValues) -> None:
    string(values, "repo", None, "A dataset repository on the Hub: org/name.")


def _define_push(values: flags.FlagValues) -> None:
    define_store(values)
    _define_repo(values)
    string(
        values,
        "models",
        None,
        "Only these of the store's models: comma-separated references; braces expand, and * "
        "matches what the store holds: org/name@stage1-*.",
    )
    flags.DEFINE_list(
        "names",
        [],
        "Public names of models of folders, FOLDER=org/name; and names or patterns that are "
        "public as they are, such as org/* for adapters and GGUF files that came from the Hub.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "local",
        False,
        "Push models of folders without such a name too, under the last part of their paths.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "public",
        False,
        "If the repository is made: for everybody to see, and not for its owners alone.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "card",
        True,
        "Renew the repository's card, with a map and a table of all that it holds; this needs "
        "the vectors that others pushed.",
        flag_values=values,
    )


def _push(values: flags.FlagValues) -> int:
    from jaxmap.api.sharing import push

    pushed = push(
        values.store,
        values.repo,
        models=values.models,
        names=values.names,
        local=values.local,
        public=values.public,
        card=values.card,
    )
    print(as_flags(pushed.text(), list(values)), end="")
    return exit_codes.DONE


def _define_pull(values: flags.FlagValues) -> None:
    define_store(values, made=True)
    _define_repo(values)
    string(
        values,
        "models",
        None,
        "Only these models: comma-separated references; braces expand, and * matches what the "
        "repository holds.",
    )
    string(values, "revision", None, "A branch, tag or commit of the repository; main if unset.")


def _pull(values: flags.FlagValues) -> int:
    from jaxmap.api.sharing import pull

    pulled = pull(values.store, values.repo, models=values.models, revision=values.revision)
    print(pulled.text(), end="")
    return exit_codes.FAILURE if pulled.refused else exit_codes.DONE


COMMANDS = {
    "push": Command(
        "a store, or part of it, to a dataset repository on the Hub",
        """Puts results that the repository lacks there, a file each, and renews its card with a map
and a table. An interrupted push resumes when it is run again. Two people may push to one
repository: results are named by what they depend on, so that theirs are a union.

Paths, users' and hosts' names do not leave. A model of a folder stays here unless it gets a public
name. The texts stay here; their fingerprint, number and bytes leave. A new repository is private
unless --public is given. HF_TOKEN must allow writing to it. docs/sharing.md says more.

  jaxmap push --store=runs --repo=org/maps
  jaxmap push --store=runs --repo=org/maps --models='EleutherAI/*@*' --public
  jaxmap push --store=runs --repo=org/maps --names=./my-model=org/my-model
""",
        _define_push,
        _push,
        required=("store", "repo"),
    ),
    "pull": Command(
        "adds results from a dataset repository on the Hub to a store",
        """Downloads the results that the store lacks. Nothing is overwritten. What is damaged, of
other texts or no result is refused by name while the rest arrives; the exit code is then 1. The
store is made if it is not there.

  jaxmap pull --store=runs --repo=org/maps
  jaxmap pull --store=runs --repo=org/maps --models='EleutherAI/pythia-70m@*'
""",
        _define_pull,
        _pull,
        required=("store", "repo"),
    ),
}
