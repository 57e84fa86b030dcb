"""Where a binary cache is, as the setting `nix_cache` says it.

Belongs here: reading it, once. Asking the cache is in `binary_cache.py`.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from flox_formats.settings import SettingsInvalid
from flox_formats.url import HttpUrl, place_of

_FOLDER = re.compile(r"file:(?://(?:localhost)?)?(/(?!/).*)")


def parse_cache_url(text: str) -> HttpUrl | Path:
    """A URL whose login and query go to the cache alone, or the folder of a `file://` URL. Raises SettingsInvalid."""
    folder = _FOLDER.fullmatch(place_of(text))
    if folder is not None:
        return Path(unquote(folder.group(1)))
    try:
        return HttpUrl.parse(text)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"binary cache: {error}; or file:///FOLDER") from error
