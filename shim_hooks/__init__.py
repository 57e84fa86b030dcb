"""The node's half: stands where containerd expects runc, and makes sure a container's environment is there.

Arrows: cli -> agent -> bundle, environment, store -> flox_formats. Never imports `registry_proxy`.
"""
