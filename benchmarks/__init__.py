"""The receiver beside its peers: `make bench` measures them in one run and prints ratios."""
