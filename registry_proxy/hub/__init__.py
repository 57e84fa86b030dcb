"""A FloxHub of one's own (`floxbridge hub`): git repositories, served to git, to `flox` and to our resolver."""
