"""What OpenCV reads from the environment when it is loaded."""

import os

_MAX_PIXELS = 1 << 27  # of a picture: 400 MB decoded; a small PNG can claim far more


def prepare_opencv() -> None:
    """Keep OpenCV quiet, and pictures to a size; call it before cv2 is imported. What the user set stays."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MAX_PIXELS))
