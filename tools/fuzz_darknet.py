"""Give the darknet importer hostile files: `python tools/fuzz_darknet.py [--cases 10000] [--seed 0] [--cfgs DIR]`.

Each case (`tests/hostile.py`) is to be accepted or refused with a short error, within a second and 500 MB. What is not
is printed and saved with its files. `--only NUMBER` runs one case again, with its traceback.
"""

import argparse
import dataclasses
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.hostile import make_case, real_cfgs, run_case, write_case  # noqa: E402
from tests.mutations import MUTATIONS  # noqa: E402
from yolo_edge.ondevice.errors import YoloEdgeError  # noqa: E402

SECONDS = 1.0  # of one import
ALARM = 3.0  # of a whole case, which may be several imports and what is written
ALARM_ALONE = 20.0
MEGABYTES = 500
HANGS = 60.0  # seconds after which a worker that says nothing, being outside Python, is ended
CONTEXT = multiprocessing.get_context("spawn")


class TooSlowError(BaseException):
    """The alarm rang; no `except Exception` on the way catches it."""


@dataclass(frozen=True)
class Result:
    """What became of a case.

    `outcome` is "accepted", "refused", "slow" or "finding"; `where` says what a finding is, the same for equal ones.
    """

    number: int
    outcome: str
    seconds: float
    where: str = ""
    detail: str = ""


def _ring(signum: int, frame: FrameType | None) -> None:
    raise TooSlowError


def _limit_memory(megabytes: int | None) -> None:
    """Let this process grow by so much, or as far as it wants."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft = hard if megabytes is None else pages * os.sysconf("SC_PAGE_SIZE") + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _signature(error: BaseException) -> str:
    # a bad message is named by the place that raised it
    bad_message = isinstance(error, AssertionError) and isinstance(error.__context__, YoloEdgeError)
    source = error.__context__ if bad_message and error.__context__ else error
    frames = [frame for frame in traceback.extract_tb(source.__traceback__) if frame.filename.startswith(str(ROOT))]
    frames = [frame for frame in frames if "site-packages" not in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    what = str(error).partition(":")[0] if bad_message else type(error).__name__
    return f"{re.sub('[0-9]+', 'N', what)} at {place}"


def judge(seed: int, number: int, cfgs: Sequence[bytes], folder: Path, alarm: float) -> Result:
    """Run one case under both limits."""
    case = make_case(seed, number, cfgs)
    signal.signal(signal.SIGALRM, _ring)
    _limit_memory(MEGABYTES)
    try:
        signal.setitimer(signal.ITIMER_REAL, alarm)
        try:
            found = run_case(case, folder)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TooSlowError as error:
        return Result(number, "slow", alarm, "", _short_traceback(error))
    except Exception as error:  # noqa: BLE001
        _limit_memory(None)
        return Result(number, "finding", 0, _signature(error), _short_traceback(error))
    finally:
        _limit_memory(None)
    if found.seconds > SECONDS:
        return Result(number, "slow", found.seconds)
    return Result(number, "accepted" if found.accepted else "refused", found.seconds)


def _short_traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text if len(text) < 6000 else f"{text[:3000]}\n...\n{text[-3000:]}"


def _work(seed: int, numbers: Sequence[int], folder: Path | None, alarm: float, pipe: Connection) -> None:
    warnings.simplefilter("error")  # a warning on a user's screen is no clear error
    cfgs = real_cfgs(folder) if folder else []
    with tempfile.TemporaryDirectory() as place:
        for number in numbers:
            pipe.send(number)
            pipe.send(judge(seed, number, cfgs, Path(place), alarm))


class Worker:
    """A process that runs its share of the cases; one that dies is started again after the case that killed it."""

    def __init__(self, seed: int, numbers: Sequence[int], folder: Path | None, alarm: float):
        self._arguments = (seed, folder, alarm)
        self._numbers = list(numbers)
        self._start()

    def _start(self) -> None:
        seed, folder, alarm = self._arguments
        self.pipe, child = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_work, args=(seed, self._numbers, folder, alarm, child), daemon=True)
        self._process.start()
        child.close()
        self._current: int | None = None
        self.heard = time.monotonic()

    def receive(self) -> Result | None:
        """A result, or None where it only says what it works on."""
        self.heard = time.monotonic()
        try:
            message = self.pipe.recv()
        except EOFError:
            return self.end("the process died")
        if isinstance(message, int):
            self._current = message
            return None
        self._numbers.remove(message.number)
        return message

    def end(self, why: str) -> Result | None:
        """End a process that died or hangs, and go on behind its case."""
        self._process.kill()
        self._process.join()
        if self._current is None:
            sys.exit(f"a worker ended before its first case (exit code {self._process.exitcode})")
        number, code = self._current, self._process.exitcode
        self._numbers.remove(number)
        if self._numbers:
            self._start()
        return Result(number, "finding", 0, f"{why} (exit code {code})")

    @property
    def done(self) -> bool:
        """Nothing is left."""
        return not self._numbers


def run(seed: int, numbers: Sequence[int], folder: Path | None, workers: int, alarm: float) -> Iterator[Result]:
    """The results, as they come."""
    running = [Worker(seed, numbers[i::workers], folder, alarm) for i in range(min(workers, len(numbers)))]
    while running := [worker for worker in running if not worker.done]:
        ready = wait([worker.pipe for worker in running], timeout=1)
        for worker in running:
            result = None
            if worker.pipe in ready:
                result = worker.receive()
            elif time.monotonic() - worker.heard > HANGS:
                result = worker.end("no answer")
            if result:
                yield result


def _save(result: Result, seed: int, cfgs: Sequence[bytes], folder: Path) -> None:
    place = folder / f"{seed}-{result.number}"
    place.mkdir(parents=True, exist_ok=True)
    case = make_case(seed, result.number, cfgs)
    write_case(case, place)
    text = (
        f"mutations {case.mutations}, other size {case.size}, {result.seconds:.2f} s\n{result.where}\n{result.detail}"
    )
    (place / "finding.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _turn(number: int) -> str:
    """The first mutation of a case."""
    return list(MUTATIONS)[number % len(MUTATIONS)]


def _print_table(results: Sequence[Result]) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        counts[_turn(result.number)][result.outcome] += 1
    counts["all"] = sum(counts.values(), Counter())
    print(f"\n{'mutation':<20}{'cases':>8}{'accepted':>10}{'refused':>9}{'findings':>10}")
    for name in [*MUTATIONS, "all"]:
        row = counts[name]
        print(f"{name:<20}{row.total():>8}{row['accepted']:>10}{row['refused']:>9}{row['finding']:>10}")


def _time_again(slow: Sequence[Result], seed: int, folder: Path | None) -> Iterator[Result]:
    """Run slow cases alone and with time to end, since a busy machine is slow too.

    Where a mutation was slow again five times, the rest of its cases is believed.
    """
    confirmed: Counter[str] = Counter()
    for result in slow:
        again, where = result, f"slow: {_turn(result.number)}"
        if confirmed[where] < 5:
            (again,) = run(seed, [result.number], folder, 1, ALARM_ALONE)
        if again.outcome == "slow":
            confirmed[where] += 1
            again = dataclasses.replace(again, outcome="finding", where=where, detail=again.detail or result.detail)
        yield again


def main() -> int:
    """Run all cases, print findings and a table; 1 when there are findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("YOLO_EDGE_SHARED", ROOT.parent / "shared")) / "assets" / "cfgs"
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cfgs", type=Path, default=shared if shared.is_dir() else None, help="real cfg files (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save", type=Path, default=ROOT / "build" / "fuzz", help="findings go here (%(default)s)")
    parser.add_argument("--only", type=int, help="run this case alone")
    options = parser.parse_args()
    cfgs = real_cfgs(options.cfgs) if options.cfgs else []
    if options.only is not None:
        case = make_case(options.seed, options.only, cfgs)
        options.save.mkdir(parents=True, exist_ok=True)
        print(f"{case.mutations}, other size {case.size}, files in {options.save}")
        print(run_case(case, options.save))
        return 0
    print(f"{options.cases} cases of seed {options.seed}, {len(cfgs)} real cfgs, {options.workers} workers")
    final, slow = [], []
    for result in run(options.seed, range(options.cases), options.cfgs, options.workers, ALARM):
        (slow if result.outcome == "slow" else final).append(result)
        if (len(final) + len(slow)) % 1000 == 0:
            print(f"{len(final) + len(slow)} cases, {len(slow)} of them slow", file=sys.stderr)
    final += list(_time_again(slow, options.seed, options.cfgs))
    findings: dict[str, list[Result]] = defaultdict(list)
    for result in final:
        if result.outcome == "finding":
            findings[result.where].append(result)
    for where, found in sorted(findings.items()):
        worst = max(found, key=lambda result: result.seconds)
        some = ", ".join(str(result.number) for result in found[:8])
        more = ", ..." if len(found) > 8 else ""
        print(f"FINDING {where}: {len(found)} cases ({some}{more}), up to {worst.seconds:.1f} s")
        for result in found[:5]:
            _save(result, options.seed, cfgs, options.save)
    _print_table(final)
    if findings:
        print(f"\nsaved in {options.save}; again: python tools/fuzz_darknet.py --seed {options.seed} --only NUMBER")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
