"""The API: what users call. Cython checks and records; the docstrings of owl.elewise are in elewise.py."""
