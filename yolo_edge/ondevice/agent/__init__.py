"""The agent: what runs on the machine that is measured, and answers a coordinator in JSON lines.

`python -m yolo_edge.ondevice.agent` reads requests from standard input, one JSON object a line, and answers each with
one on standard output. The coordinator sees two streams: whether they lead to a process beside it or over SSH to a
board makes no difference. It runs on Python 3.8 with the standard library, numpy, cv2 and one runtime.
"""
