"""Bytes by digest: kept whole or not at all, and fetched once for any number of clients."""
