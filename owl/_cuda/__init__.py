"""CUDA: NVIDIA's libraries, opened where they are needed, and the kernels."""
