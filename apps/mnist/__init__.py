"""MNIST: the program ``python -m owl.apps.mnist`` and four classic scripts that run by path.

``cli`` reads the options and reports, ``train`` holds the loop, ``model`` the networks, ``checkpoint`` their files.
``data`` decides where the images come from (``idx``, ``mat``, ``download`` and ``digits`` are the places), and
``dataset`` is what all of them give. ``plot`` draws a training. ``mnist_io`` is the loader of the classic scripts
``simple_mnist.py``, ``mnist_mlp.py``, ``mnist_cnn.py`` and ``mnist_cnn_2gpu.py``.
"""

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
