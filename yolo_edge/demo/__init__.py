"""The live demo: pictures from a source, detections on a page, and what happens when something is there.

Three threads: a `Reader` takes pictures from a source, `Inference` runs the models on them, and a server shows the
newest result to all who look. What else a result leads to (a recording, a lamp, a call) has threads of its own: nothing
queues up, and nothing but the models decides how fast it goes.
"""
