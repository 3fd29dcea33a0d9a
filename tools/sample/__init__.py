"""Parts of tools/train_sample.py."""
