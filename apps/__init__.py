"""Programs that train networks with owl: ``python -m owl.apps.mnist``."""
