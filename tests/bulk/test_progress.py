from itertools import count

from blitznet.bulk.progress import BulkProgress, ProgressMeter
from blitznet.bulk.source_files import SourceFile

IMAGES = [SourceFile(str(number), "", "image") for number in range(10)]
TARS = [SourceFile(f"{number}.tar", "", "tar") for number in range(3)]


def test_rate_and_time_left() -> None:
    state = BulkProgress(done=300, total=1000, predicted=200, seconds=4)
    assert state.rate == 50
    assert state.seconds_left == 14
    assert BulkProgress(300, None, 200, 4).seconds_left is None
    assert BulkProgress(300, 1000, 0, 4).seconds_left is None


def test_a_meter_counts_images() -> None:
    states: list[BulkProgress] = []
    seconds = count()
    meter = ProgressMeter(states.append, clock=lambda: float(next(seconds)))
    meter.add_part(4, is_container=False, is_new=False)
    meter.count_now(IMAGES)
    meter.update(2)
    meter.add_part(6, is_container=False, is_new=True)
    assert states == [
        BulkProgress(4, None, 0, 1),
        BulkProgress(6, 10, 2, 2),
        BulkProgress(10, 10, 6, 3),
    ]


def test_the_total_of_tar_files_is_estimated_from_those_that_are_done() -> None:
    meter = ProgressMeter()
    meter.count_now([*IMAGES, *TARS])
    assert meter.state().total is None
    meter.add_part(100, is_container=True, is_new=True)
    assert meter.state().total == 310
    meter.add_part(50, is_container=True, is_new=True)
    assert meter.state().total == 235


def test_a_limit_bounds_the_total() -> None:
    meter = ProgressMeter(limit=7)
    meter.count_now(IMAGES)
    assert meter.state().total == 7
