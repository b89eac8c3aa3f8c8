"""What goes wrong, in one line that names the file or flag and says what to do."""


class JaxmapError(Exception):
    """A failure while doing what was asked (network, disk, device). Exit code 1."""

    exit_code = 1


class InputError(JaxmapError):
    """What was asked cannot be done as asked: a bad flag, file, checkpoint or text. Exit code 2."""

    exit_code = 2
