"""The public keys that sign what Flox environments are made of, for those who trust no others.

Source: FH §7: the public cache of Nix, Flox's own cache, and FloxHub's for custom packages.
"""

PUBLIC_KEYS = (
    "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
    "flox-cache-public-1:7F4OyH7ZCnFhcze3fJdfyXYLQw/aV7GEed86nQ7IsOs=",
)
"""Of caches that show everybody what they have signed."""

KNOWN_KEYS = (*PUBLIC_KEYS, "floxhub-1:0QOAlcobcEvq1mqEf4qAYCaWnTTOXpyoRv/PmqfSixM=")
