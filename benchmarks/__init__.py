"""owl against its peers, side by side; each module is one command that prints a table of ratios."""
