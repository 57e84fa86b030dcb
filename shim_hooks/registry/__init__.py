"""The registry as a node asks it: which generation, which closure, which bytes."""
