"""`yolo-edge quickstart`: the whole way on the built-in sample model, by calling the commands."""

from yolo_edge.quickstart.run import Outcome, Summary, run

__all__ = ["Outcome", "Summary", "run"]
