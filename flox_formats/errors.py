"""The root of what a format can complain about. Each format derives its own class, in its own module."""


class FormatError(ValueError):
    """Input that is not what its format says: the message names the format, what was found and where."""
