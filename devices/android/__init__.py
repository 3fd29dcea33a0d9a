"""What a phone with Android says of itself: its chips, its heat, its battery, its power meters."""

NO_AGENT = (
    "a stock phone has no Python: benchmark .tflite files there with --benchmark-model PATH, or run everything in "
    "Termux, by ssh:// (docs/phones.md)"
)
