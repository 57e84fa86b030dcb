"""The registry's half: an OCI registry that makes an image for every generation of every FloxHub environment.

Arrows: cli -> app -> endpoints -> floxhub, images, content, nix -> flox_formats. Never imports `shim_hooks`.
"""
