"""COCO's `instances*.json`: https://cocodataset.org/#format-data."""

from pathlib import Path, PurePath

import msgspec
import numpy as np

from yolo_edge.datasets.dataset import MAX_SIDE, Columns, Dataset, Reading, build
from yolo_edge.datasets.image_size import image_size
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_bytes

_MAX_BYTES = 1 << 31  # that of train2017 has 448 MB


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: str
    width: int = 0
    height: int = 0


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int
    bbox: list[float] = []
    area: float | None = None
    iscrowd: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path, images: Path | None, reading: Reading) -> Dataset:
    """Read labels in COCO's form. Segmentations are passed over; sizes are those that the file states.

    Args:
        path: The JSON file.
        images: The folder of the pictures; None: looked for around `path`, as COCO and its users lay it out.
        reading: What to do about bad labels.

    Raises:
        InputError: The file is not of this form, or a label is bad.
    """
    try:
        document = msgspec.json.decode(read_bytes(path, _MAX_BYTES), type=_Instances)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not COCO's instances.json ({error})") from error
    categories = sorted(document.categories, key=lambda category: category.id)
    class_of = {category.id: number for number, category in enumerate(categories)}
    index_of = {image.id: number for number, image in enumerate(document.images)}
    if len(class_of) < len(categories) or len(index_of) < len(document.images):
        what = "images" if len(index_of) < len(document.images) else "categories"
        raise InputError(f"{path}: two {what} share an id")
    if not categories:
        raise InputError(f"{path}: there are no categories")
    folder = images or _find_folder(path, document.images)
    paths = [folder / _inside(path, image.file_name) for image in document.images]
    bad_images: dict[int, str] = {}
    sizes = _sizes(path, document.images, paths, bad_images)

    columns = Columns()
    area, crowd = [], []
    for number, annotation in enumerate(reading.track(document.annotations)):
        image, class_id = index_of.get(annotation.image_id), class_of.get(annotation.category_id)
        if image is None:
            reading.bad(f"{path}: annotations[{number}]: there is no image {printable(str(annotation.image_id))}")
        elif class_id is None:
            problem = f"there is no category {annotation.category_id}"
            bad_images.setdefault(image, f"{path}: annotations[{number}]: {problem}")
        elif len(annotation.bbox) != 4:
            problem = f"bbox has {len(annotation.bbox)} numbers, not 4"
            bad_images.setdefault(image, f"{path}: annotations[{number}]: {problem}")
        else:
            columns.image.append(image)
            columns.class_id.append(class_id)
            columns.box.append(annotation.bbox)
            columns.where.append(number)
            area.append(np.nan if annotation.area is None else annotation.area)
            crowd.append(annotation.iscrowd != 0)
    xyxy = columns.boxes()
    xyxy[:, 2:] += xyxy[:, :2]
    return build(
        columns,
        xyxy,
        reading,
        source=str(path),
        names=tuple(printable(category.name) for category in categories),
        names_known=True,
        paths=paths,
        sizes=sizes,
        describe=lambda where: f"{path}: annotations[{where}]",
        bad_images=bad_images,
        area=np.array(area, np.float64),
        crowd=np.array(crowd, bool),
    )


def _inside(path: Path, name: str) -> PurePath:
    parts = PurePath(name)
    if not name or "\0" in name or parts.is_absolute() or ".." in parts.parts:
        shown = printable(name)[:80]
        raise InputError(f"{path}: file_name {shown!r}: expected a name inside the folder of the pictures")
    return parts


def _find_folder(path: Path, images: list[_Image]) -> Path:
    """The first folder of the usual ones that has the first picture."""
    split = path.stem.removeprefix("instances").strip("_-")
    around, above = path.parent, path.parent.parent
    folders = [around / "images", around]
    if split:
        folders += [around / "images" / split, around / split, above / "images" / split, above / split]
    folders.append(above / "images")
    if images:
        name = _inside(path, images[0].file_name)
        for folder in folders:
            if (folder / name).is_file():
                return folder
    return folders[0]


def _sizes(
    path: Path, images: list[_Image], paths: list[Path], bad_images: dict[int, str]
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    sizes = np.ones((len(images), 2), np.int64)
    for number, image in enumerate(images):
        width, height = image.width, image.height
        if (width, height) == (0, 0):  # not stated
            try:
                width, height = image_size(paths[number])
            except InputError as error:
                bad_images[number] = f"{path}: images[{number}]: no width and height, and {error}"
                continue
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            bad_images[number] = f"{path}: images[{number}]: a picture of {width}x{height} pixels"
            continue
        sizes[number] = width, height
    return sizes
