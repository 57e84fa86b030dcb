"""What `floxbridge-node` does by hand: realise, status, gc, verify. The agent's own wiring is in `wiring.py`."""
