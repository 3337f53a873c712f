"""What can be wrong with the files a user hands in; each message names the file and the reason."""

from owl import OwlError


class DataError(OwlError, ValueError):
    """A data set is missing, truncated, corrupt or of the wrong shape."""


class CheckpointError(OwlError, ValueError):
    """A checkpoint is missing, truncated or belongs to another network, or cannot be written."""


class PlotError(OwlError, ValueError):
    """A picture cannot be drawn or written."""
