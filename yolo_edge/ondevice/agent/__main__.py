"""`python -m yolo_edge.ondevice.agent`: answers requests until its input ends."""

import sys

from yolo_edge.ondevice.agent.server import main

if __name__ == "__main__":
    main(sys.argv[1:])
