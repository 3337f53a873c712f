"""What can be wrong with the files a user hands in; each message names the file and the reason."""


class DataError(ValueError):
    """A data set is missing, truncated, corrupt or of the wrong shape."""


class CheckpointError(ValueError):
    """A checkpoint is missing, truncated or belongs to another network, or cannot be written."""


class PlotError(ValueError):
    """A picture cannot be drawn or written."""
