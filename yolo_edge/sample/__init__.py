"""A detector of machine-readable codes that the project trained itself, and the scenes that it was trained on."""

from pathlib import Path

CLASSES = ("qr_code", "aruco_marker", "barcode")
QR_CODE, ARUCO_MARKER, BARCODE = range(len(CLASSES))
CFG = Path(__file__).with_name("codes.cfg")
"""The network, in darknet's form; `codes.weights` and `codes.names` are beside it."""
NAMES = Path(__file__).with_name("codes.names")
