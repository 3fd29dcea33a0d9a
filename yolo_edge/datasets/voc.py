"""VOC folders: `Annotations/*.xml`, `ImageSets/Main/<split>.txt`, `JPEGImages/`.

Boxes are counted in pixels from 1, with the last one in the box (VOC devkit, section 4): xmin..xmax covers
xmin − 1 .. xmax in the coordinates of the other forms.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from yolo_edge.datasets.dataset import MAX_SIDE, Columns, Dataset, Reading, build
from yolo_edge.datasets.image_size import image_size
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_bytes, read_text
from yolo_edge.ondevice.images import SUFFIXES
from yolo_edge.ondevice.names import VOC

_MAX_BYTES = 4 * 1024 * 1024
_SETS = Path("ImageSets") / "Main"


def voc_root(folder: Path) -> Path | None:
    """The VOC folder that `folder` is, or the only one in it (`VOCdevkit/VOC2007`); None: there is none.

    Raises:
        InputError: There are several.
    """
    if _is_voc(folder):
        return folder
    inside = sorted(child for child in folder.iterdir() if _is_voc(child))
    if len(inside) > 1:
        names = ", ".join(child.name for child in inside)
        raise InputError(f"{folder}: holds several VOC folders, choose one: {names}")
    return inside[0] if inside else None


def _is_voc(folder: Path) -> bool:
    try:
        return (folder / "Annotations").is_dir()
    except PermissionError:  # such as lost+found, where a dataset has a disk of its own
        return False


def voc_splits(folder: Path) -> list[str]:
    """The splits of a VOC folder; those of single classes (`cat_train`) are none."""
    stems = {file.stem for file in (folder / _SETS).glob("*.txt")}
    return sorted(stem for stem in stems if not ("_" in stem and stem.rsplit("_", 1)[1] in stems))


def read_voc(folder: Path, split: str | None, images: Path | None, reading: Reading) -> Dataset:
    """Read a VOC folder.

    Args:
        folder: With `Annotations` in it.
        split: A file of `ImageSets/Main`, such as "trainval"; None: all annotations.
        images: The folder of the pictures; None: `JPEGImages`.
        reading: What to do about bad labels.

    Raises:
        InputError: The split is missing, or a label is bad.
    """
    stems = _stems(folder, split)
    folder_of_pictures = images or folder / "JPEGImages"
    pictures = _pictures(folder_of_pictures)
    columns, names, difficult = Columns(), dict.fromkeys(VOC), []
    classes = {name: number for number, name in enumerate(names)}
    paths: list[Path] = []
    sizes: list[tuple[int, int]] = []
    bad_images: dict[int, str] = {}
    for number, stem in enumerate(reading.track(stems)):
        paths.append(pictures.get(stem, folder_of_pictures / f"{stem}.jpg"))
        sizes.append((1, 1))
        try:
            root = _parse(folder / "Annotations" / f"{stem}.xml")
            sizes[number] = _size(root) or image_size(paths[number])
            found = [_object(item) for item in root.iterfind("object")]
        except InputError as error:
            bad_images[number] = str(error)
            continue
        except ValueError as error:
            bad_images[number] = f"{folder / 'Annotations' / stem}.xml: {error}"
            continue
        for at, (name, box, hard) in enumerate(found, start=1):
            columns.image.append(number)
            columns.class_id.append(classes.setdefault(name, len(classes)))
            columns.box.append(box)
            columns.where.append((stem, at))
            difficult.append(hard)
    xyxy = columns.boxes()
    xyxy[:, :2] -= 1
    class_names = _name_classes(columns, list(classes))
    return build(
        columns,
        xyxy,
        reading,
        source=str(folder),
        names=class_names,
        names_known=True,
        paths=paths,
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        describe=lambda where: f"{folder / 'Annotations' / where[0]}.xml: object {where[1]}",
        bad_images=bad_images,
        difficult=np.array(difficult, bool),
    )


def _name_classes(columns: Columns, names: list[str]) -> tuple[str, ...]:
    """VOC's twenty names where all labels are of them; otherwise the names that were met, in order of the alphabet."""
    met = {names[number] for number in columns.class_id}
    if met <= set(VOC):
        return VOC
    ordered = sorted(met)
    place = {name: number for number, name in enumerate(ordered)}
    columns.class_id = [place[names[number]] for number in columns.class_id]
    return tuple(ordered)


def _stems(folder: Path, split: str | None) -> list[str]:
    if split is None:
        stems = sorted(file.stem for file in (folder / "Annotations").glob("*.xml"))
        if not stems:
            raise InputError(f"{folder / 'Annotations'}: no .xml files in this folder")
        return stems
    if split not in voc_splits(folder):
        known = ", ".join(voc_splits(folder)) or "none"
        raise InputError(f"{folder}: no split {printable(split)!r} in {_SETS}; there are: {known}")
    path = folder / _SETS / f"{split}.txt"
    stems = []
    for number, line in enumerate(read_text(path, 1 << 28, "a split is UTF-8 text, a picture a line").splitlines(), 1):
        if not line.strip():
            continue
        stem = line.split()[0]
        if "/" in stem or "\\" in stem or "\0" in stem or stem in (".", ".."):
            raise InputError(f"{path}:{number}: expected the name of a picture, got {printable(stem)[:80]!r}")
        stems.append(stem)
    return list(dict.fromkeys(stems))


def _pictures(folder: Path) -> dict[str, Path]:
    try:
        return {child.stem: child for child in folder.iterdir() if child.suffix.lower() in SUFFIXES}
    except OSError:  # labels are enough for anchors
        return {}


def _parse(path: Path) -> Element:
    try:
        root: Element = fromstring(read_bytes(path, _MAX_BYTES), forbid_dtd=True)
    except ParseError as error:
        line = error.position[0]
        raise InputError(f"{path}:{line}: not XML ({error.msg})") from error
    except DefusedXmlException as error:
        raise InputError(f"{path}: declares entities or a document type; labels have none") from error
    except (ValueError, LookupError) as error:  # an encoding that there is not
        raise InputError(f"{path}: not XML ({error})") from error
    return root


def _size(root: Element) -> tuple[int, int] | None:
    """Width and height; None where the file does not say, or says 0."""
    stated = [root.findtext(f"size/{side}") for side in ("width", "height")]
    if None in stated:
        return None
    width, height = (_number(text or "", side) for text, side in zip(stated, ("width", "height"), strict=True))
    if width == height == 0:
        return None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"a picture of {width:g}x{height:g} pixels")
    return int(width), int(height)


def _object(item: Element) -> tuple[str, list[float], bool]:
    name = printable((item.findtext("name") or "").strip())
    if not name:
        raise ValueError("an object without a name")
    box = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = item.findtext(f"bndbox/{corner}")
        if text is None:
            raise ValueError(f"an object ({name}) without {corner}")
        box.append(_number(text, corner))
    return name, box, (item.findtext("difficult") or "0").strip() not in ("", "0")


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what}: expected a number, got {printable(text.strip())[:40]!r}") from None
