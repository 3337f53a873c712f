"""Benchmarks of GPU devices against other libraries on the same GPU: ``python -m benchmarks.gpu``."""
