"""How fast the parts of the toolbox are on this machine."""
