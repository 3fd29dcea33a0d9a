"""A phone's own browser as a device: a page that loads onnxruntime-web and does what our agent does elsewhere."""
