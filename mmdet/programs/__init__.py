"""Whole programs on top of the toolbox, one folder or file each; it imports none of them."""
