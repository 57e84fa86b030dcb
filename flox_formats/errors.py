"""The root of what a format can complain about. Each format derives its own class, in its own module."""

_LONGEST = 1500
"""Characters. It goes into logs and into the pod's events, where nobody reads more."""


class FormatError(ValueError):
    """Input that is not what its format says: the message names the format, what was found and where.

    Keys and names of the input stand in messages. However they are made, `str` gives one line that can be printed and
    read.
    """

    def __str__(self) -> str:
        text = super().__str__()
        line = "".join(map(_printable, text[: _LONGEST + 1]))
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "?"
