"""Finding cameras: those plugged into this machine, those on the network, and where their streams usually are."""
