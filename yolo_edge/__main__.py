"""`python -m yolo_edge`."""

import sys

from yolo_edge.cli import main

sys.exit(main())
