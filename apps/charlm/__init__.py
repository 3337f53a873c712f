"""A character language model: ``python -m owl.apps.charlm`` trains an LSTM on Python's help texts and lets it write.

``text`` makes batches of characters, ``model`` is the net, of which only the forward pass is written, ``train`` the
loop and the sampling, ``plot`` a picture of the loss, and ``cli`` reads the options.
"""
