"""Errors: one line that names the file or the parameter and says what to do."""

from __future__ import annotations


class JaxmapError(Exception):
    """A failure while doing what was asked: the network, the disk or a device did not comply.

    Args:
      message: one line; parameters that it mentions are written as `name` or `name=value`, with
        the backquotes, so that the command line can show them as its flags.
      field: the parameter whose value is at fault, if it is one.
      value: that value, where it helps to repeat it.
      cure: what to do about it, if the message does not say so.
    """

    def __init__(
        self,
        message: str = "",
        *,
        field: str | None = None,
        value: object = None,
        cure: str | None = None,
    ):
        super().__init__(message)
        self.field, self.value, self.cure = field, value, cure

    @property
    def message(self) -> str:
        """The line without the parameter at its head."""
        said = super().__str__()
        return f"{said}; {self.cure}" if self.cure else said

    def __str__(self) -> str:
        if self.field is None:
            return self.message
        given = "" if self.value is None else f"={self.value}"
        # "and `other`: give one of them" continues the name; all else is said about it.
        between = " " if self.message.startswith("and ") else ": "
        return f"{self.field}{given}{between}{self.message}"


class InputError(JaxmapError):
    """What was asked cannot be done as asked: a parameter, file, checkpoint or text is wrong."""


def without_name(message: str | BaseException, *names: str) -> str:
    """A message about a model without the model's name at its head.

    For lists that begin each line with the name, so that it is there once: of "org/name: no such
    model" remains "no such model", of "folder/config.json: not JSON" "config.json: not JSON".
    """
    text = str(message)
    for name in sorted(filter(None, names), key=len, reverse=True):
        rest = text.removeprefix(name)
        if rest != text and rest[:1] in (":", ",", "/"):
            return rest[1:].strip() or text
    return text


def first_line(error: BaseException | str | None) -> str:
    """The first line of another library's message; the name of the error if it has none."""
    text = str(error).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__
