"""What is typed: each module parses its flags and calls one function of the package."""
