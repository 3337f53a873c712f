"""The CUDA device on the stand-in driver: what a program sees of it."""
