"""Which network is written in which precision: by pictures, by what was kept, within a limit, or the fastest."""

from msgspec import structs

from yolo_edge.export import automatic
from yolo_edge.export.controlled import ControlOptions, describe, describe_verdict, quantize_within
from yolo_edge.export.job import AUTO, PLANNED, Int8Options, Job, Network, front_name, size_in_name
from yolo_edge.export.quantization.choose import Quantization, from_plan, quantize
from yolo_edge.export.quantization.control import Controlled, point_of
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.front import Front, read_front
from yolo_edge.export.quantization.pictures import Pictures
from yolo_edge.export.quantization.plan import QuantizationPlan, read_plan
from yolo_edge.export.quantization.wide import wide_plan
from yolo_edge.export.verify import VerificationError
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import write_atomically


def read_kept(options: Int8Options) -> QuantizationPlan | Front | None:
    """The plan or front of `--plan`.

    Raises:
        InputError: It cannot be used, or has no such point.
    """
    if options.plan is None:
        return None
    front = read_front(options.plan)
    if front is None:
        if options.point is not None:
            raise InputError(f"--point goes with a .front.json; {options.plan} is a plan")
        return read_plan(options.plan)
    numbers = [point.number for point in front.points]
    point = front.chosen if options.point is None else options.point
    if point is None:
        raise InputError(f"{options.plan}: none of its points holds its limit, --point N takes one of 0..{numbers[-1]}")
    if point not in numbers:
        asked = "its chosen point is" if options.point is None else "--point"
        raise InputError(f"{options.plan}: has the points 0..{numbers[-1]}, and {asked} {point}")
    return structs.replace(front, chosen=point)


def control(
    job: Job, pictures: Pictures, options: ControlOptions, notes: list[str]
) -> tuple[dict[str, Network], Controlled]:
    """Precision → network, int8 within the limit; and the front, which is written in any case.

    Raises:
        VerificationError: The limit is not reachable.
    """
    source, format_ = job.source, job.options.formats[0]
    baseline = job.write(format_, job.graph, "fp32")
    found, remarks = quantize_within(
        job.graph,
        source,
        pictures,
        options,
        ranges=job.options.int8.ranges,
        seed=job.options.int8.seed,
        format_=format_,
        clock=lambda network: 1 / job.ratio(baseline, job.write(format_, network, "int8")),
        progress=lambda what: job.progress(f"{source.stem}: {what}"),
    )
    kept = job.output / front_name(source.stem, job.size)
    write_atomically(kept, found.front.to_json())
    said = describe(found.front)
    notes += [*remarks, *said, f"all points: {kept}"]
    if found.network is None and AUTO not in job.options.precisions:
        raise VerificationError(
            f"{said[-1]}; {said[0]}. {kept} has all points: --plan takes one with --point N; or use fp32 or fp16"
        )
    networks: dict[str, Network] = dict.fromkeys(job.options.precisions, job.graph)
    if found.network is not None:
        networks["int8"] = found.network
    return networks, found


def choose(job: Job, format_: str, found: Controlled, notes: list[str]) -> dict[str, Network]:
    """The one network that `--precision auto` writes in a format."""
    job.progress(f"{job.source.stem}: comparing precisions, {format_}")
    expanded, limit = expand_activations(job.graph), found.front.limit
    chosen, tried = automatic.choose_precision(
        job.graph, expanded, found.front, lambda network, precision: job.write(format_, network, precision), job.ratio
    )
    notes.append(automatic.describe(format_, chosen, tried, limit))
    if chosen.point is None:
        return {chosen.precision: job.graph}
    if chosen.point != found.front.chosen:
        notes.append(f"{format_}, point {chosen.point}: {describe_verdict(found.verdict(chosen.point), limit)}")
    return {chosen.precision: point_of(expanded, found.front, chosen.point)}


def make_networks(
    job: Job, pictures: Pictures | None, kept: QuantizationPlan | Front | None, notes: list[str]
) -> dict[str, Network]:
    """Precision → what is written in it.

    Args:
        job: Of one size.
        pictures: To calibrate with.
        kept: Of `--plan`.
        notes: Get what a person should know.

    Raises:
        InputError: Neither pictures nor a plan, or one that does not fit.
    """
    networks: dict[str, Network] = dict.fromkeys(job.options.precisions, job.graph)
    notes += _of_another_size(job)
    for precision in (precision for precision in PLANNED if precision in networks):
        made = _planned(job, precision, pictures, kept)
        networks[precision] = made.network
        notes += made.notes
    return networks


def _of_another_size(job: Job) -> list[str]:
    """What a person should know of a plan of another size; plans themselves do not say theirs."""
    plan = job.options.int8.plan
    made_for = None if plan is None else size_in_name(plan)
    if made_for in (None, job.size):
        return []
    then, now = (f"{width}x{height}" for width, height in (made_for, job.size))
    return [
        f"{plan} was made at {then}, as its name says, and is used at {now}: its ranges are of pictures of that size; "
        "--calibration finds those of this one"
    ]


def _planned(
    job: Job, precision: str, pictures: Pictures | None, kept: QuantizationPlan | Front | None
) -> Quantization:
    where = str(job.options.int8.plan)
    if isinstance(kept, Front):
        return Quantization(point_of(expand_activations(job.graph), kept, kept.chosen or 0, where))
    if kept is not None:
        return from_plan(job.graph, kept, where)
    if pictures is None:
        raise InputError(f"precision {precision}: neither pictures nor a plan")
    if precision == "int8x16":
        job.progress(f"{job.source.stem}: ranges of 16 bits")
        return Quantization(wide_plan(job.graph, job.source.spec, pictures.calibration), notes=pictures.notes)
    return quantize(
        job.graph,
        job.source.spec,
        pictures,
        ranges=job.options.int8.ranges,
        seed=job.options.int8.seed,
        progress=lambda what: job.progress(f"{job.source.stem}: {what}"),
    )
