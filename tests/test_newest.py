"""Whoever looks finds the newest result, and never waits for it."""

from __future__ import annotations

import gc
import threading
import weakref

from stream.sinks.newest import NewestSink
from tests.results import result, source


def test_only_the_newest_is_kept() -> None:
    sink = NewestSink()
    sink.open(source())
    seen = [sink.newest]
    first, second = result(0), result(1)
    picture = first.frame.picture
    assert picture is not None
    forgotten = weakref.ref(picture)
    for each in (first, second):
        sink.write(each)
        seen.append(sink.newest)
    assert seen == [None, first, second]
    del first, picture, each, seen
    gc.collect()
    assert forgotten() is None


def test_the_last_result_stays_after_the_end() -> None:
    sink = NewestSink("window")
    sink.open(source())
    sink.write(result(3))
    sink.close()
    assert sink.newest is not None
    assert sink.newest.frame.index == 3
    assert (sink.name, sink.wants_picture, sink.optional, sink.outputs) == ("window", True, True, [])


def test_a_reader_on_another_thread_never_sees_time_run_backwards() -> None:
    sink, results = NewestSink(), [result(index, picture=result(0).frame.picture) for index in range(300)]
    seen = [-1]
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if (newest := sink.newest) is not None and newest.frame.index != seen[-1]:
                seen.append(newest.frame.index)

    reader = threading.Thread(target=look)
    reader.start()
    for each in results:
        sink.write(each)
    while seen[-1] != 299:
        assert reader.is_alive()
    done.set()
    reader.join()
    assert seen == sorted(seen)
