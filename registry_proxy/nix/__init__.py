"""Nix binary caches: asking them for narinfos and NARs, and walking a closure through them."""
