"""The formats that the registry and the node both read. Pure: no disk, network, clock or log.

Belongs here: parsing bytes into frozen values, printing them back, and the rules of a format.
Does not: asking anyone for bytes, keeping them, or deciding what to do about them.
Imports neither `registry_proxy` nor `shim_hooks`; `signature.py` alone needs a library (cryptography).
"""
