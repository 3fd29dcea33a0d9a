"""What is known of both files as a whole, for people."""

from yolo_edge.export.comparison.result import Comparison, FileResult


def facts(result: Comparison) -> list[tuple[str, str]]:
    """What is known of both files as a whole, name and text."""
    found = [("float", _file(result.float_file)), ("the other", _file(result.quantized_file))]
    if result.agreement is not None:
        by = " (from its layers that are the raw heads)" if result.detections_by == "layers" else ""
        found.append(("agreement", f"{result.agreement:.3f}{by}: AP50 with the float network's detections as labels"))
    if result.accuracy is not None:
        parts = []
        for metric, name in (("mAP50", "mAP50"), ("mAP50_95", "mAP50-95")):
            a, b = (result.accuracy[side][metric] for side in ("float", "quantized"))
            if a is not None and b is not None:
                parts.append(f"{name} {100 * a:.1f} → {100 * b:.1f}")
        found.append(("mAP", ", ".join(parts) or "-"))
    if result.kernels_sqnr_db is not None:
        found.append(
            ("kernels", f"{result.kernels_sqnr_db:.1f} dB between the runtime's own and the file's arithmetic")
        )
    return found


def _file(file: FileResult) -> str:
    weights = ", ".join(f"{count} {name}" for name, count in file.weights.items())
    size = f"{file.bytes / 1e6:.2f} MB" if file.bytes >= 1e6 else f"{file.bytes / 1e3:.0f} kB"
    return (
        f"{file.path} ({file.format}, {size}): {file.convolutions} convolutions, {file.int8} of them in integers; "
        f"weights {weights}"
    )
