"""Train the built-in sample model from nothing: scenes, anchors, network, darknet files, figures.

    pip install torch==2.13.0          # training only; the project does not depend on it
    python tools/train_sample.py --work build/sample

The files in yolo_edge/sample were made by it in legs, as their MODEL_CARD.md tells. The log is <work>/log.jsonl;
`--resume` goes on from the last checkpoint.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

try:
    import torch
    from sample.loss import YoloLoss
    from sample.network import PER_HEAD, SIZE, Network, cfg_text, write_weights
    from sample.pictures import Batches
    from torch.optim.swa_utils import AveragedModel
except ModuleNotFoundError as error:
    sys.exit(f"training needs {error.name}, which the project does not depend on: pip install torch==2.13.0")

from yolo_edge.sample import CFG
from yolo_edge.sample.scenes import Part, write_dataset

TRAINING, JUDGING = 1, 2  # seeds of scenes
_SIZES = (288, 320, 352, 384)
_BATCHES_A_SIZE = 10  # YOLO9000, section 3: another size every ten batches
_LAST_AT_SIZE = 0.12  # of the steps, at the size that is used


def main() -> None:
    """Do what is still missing, step by step."""
    options = _options()
    torch.manual_seed(options.seed)
    cv2.setNumThreads(1)
    work: Path = options.work
    data = work / "scenes"
    if not (data / "data.yaml").exists():
        _make_scenes(data, options.scenes, options.empty)
    cfg = work / CFG.name
    if not cfg.exists():
        cfg.write_text(cfg_text(_anchors(data / "data.yaml", options.seed)))
    network = _train(cfg, data, options)
    for target in (work, options.output):
        if target:
            (target / CFG.name).write_bytes(cfg.read_bytes())
            write_weights(network, target / CFG.with_suffix(".weights").name, options.steps * options.batch)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scenes, checkpoints and the log go here")
    parser.add_argument("--output", type=Path, help="where the cfg and the weights go besides")
    parser.add_argument("--scenes", type=int, default=11000, help="of training, with codes")
    parser.add_argument("--empty", type=int, default=4500, help="of training, with nothing but what looks like codes")
    parser.add_argument("--steps", type=int, default=8500)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def _make_scenes(folder: Path, scenes: int, empty: int) -> None:
    parts = {
        "train": (Part(TRAINING, scenes), Part(TRAINING, empty, codes=False)),
        "val": (Part(JUDGING, 500),),
    }
    for number, _ in enumerate(write_dataset(folder, parts, workers=2), start=1):
        if number % 500 == 0:
            print(f"{number} of {scenes + empty + 500} scenes", file=sys.stderr)


def _anchors(data: Path, seed: int) -> list[list[float]]:
    program = Path(sys.executable).with_name("yolo-edge")
    size = ["--size", str(SIZE), "--resize", "stretch"]
    command = [program, "anchors", data, "-k", str(2 * PER_HEAD), *size, "--seed", str(seed), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["anchors"]  # type: ignore[no-any-return]


def _sizes(seed: int, steps: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    size = SIZE
    for step in range(steps):
        if step % _BATCHES_A_SIZE == 0:
            size = int(rng.choice(_SIZES))
        yield SIZE if step > steps * (1 - _LAST_AT_SIZE) else size


def _rate(step: int, options: argparse.Namespace) -> float:
    """Rises over the first 300 steps, then falls along a cosine."""
    rest = max(0.0, (step - 300) / max(options.steps - 300, 1))
    return float(options.rate) * min(1.0, step / 300) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(rest, 1.0))) / 2)


def _train(cfg: Path, data: Path, options: argparse.Namespace) -> torch.nn.Module:
    network = Network(cfg).to(memory_format=torch.channels_last)
    loss = YoloLoss(network.anchors())
    decayed = [value for value in network.parameters() if value.ndim > 1]
    plain = [value for value in network.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate)
    mean = AveragedModel(network, avg_fn=_averaged, use_buffers=True)
    checkpoint, done = options.work / "checkpoint.pt", 0
    if options.resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        mean.load_state_dict(state["mean"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    batches = Batches(data, options.batch, options.seed + done)
    sizes = itertools.islice(_sizes(options.seed, options.steps), done, None)
    network.train()
    begun, cpu = time.monotonic(), time.process_time()
    for step, (pictures, boxes, size) in enumerate(batches.batches(sizes), start=done + 1):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, options)
        maps = network(pictures.contiguous(memory_format=torch.channels_last))
        total, parts = loss(maps, boxes, size)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        mean.update_parameters(network)
        if step % 50 == 0 or step == options.steps:
            row = {"step": step, "size": size, **{name: round(value, 4) for name, value in parts.items()}}
            row |= {
                "minutes": round((time.monotonic() - begun) / 60, 2),
                "cpu_minutes": round((time.process_time() - cpu) / 60, 2),
            }
            with (options.work / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
        if step % 500 == 0 or step == options.steps:
            state = {"network": network.state_dict(), "mean": mean.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            write_weights(mean.module, options.work / CFG.with_suffix(".weights").name, step * options.batch)
    return mean.module


def _averaged(mean: torch.Tensor, value: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Exponential moving average, quicker at the beginning."""
    keep = min(0.9985, (1 + int(count)) / (10 + int(count)))
    return keep * mean + (1 - keep) * value


if __name__ == "__main__":
    main()
