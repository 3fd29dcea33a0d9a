"""Say what to run after `make quickstart`, with the folder of its programs as the argument."""

import subprocess
import sys
from pathlib import Path

STEPS = """
{version} is installed in {environment}. With a model of your own (NAME.cfg with NAME.weights beside it):

    source {activate}
    yolo-edge inspect NAME.cfg                          what it consists of
    yolo-edge export  NAME.cfg --precision fp32,fp16 --output out/
    yolo-edge detect  out/NAME-416-fp32.onnx PICTURE.jpg --save drawn/

No model at hand? github.com/dog-qiuqiu/Yolo-Fastest has some of 1.4 MB. More: README.md, yolo-edge --help
"""


def main() -> None:
    """Check that the program runs, then print."""
    folder = Path(sys.argv[1])
    version = subprocess.run([folder / "yolo-edge", "--version"], capture_output=True, text=True, check=True)
    print(STEPS.format(version=version.stdout.strip(), environment=folder.parent, activate=folder / "activate"))


if __name__ == "__main__":
    main()
