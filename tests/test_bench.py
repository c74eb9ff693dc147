"""The benchmark: what it says of programs, of records and of a page."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edge.bench import network
from edge.bench.bound import Bound
from edge.bench.live import AgeSink
from edge.bench.network import compare, splits
from edge.bench.peers import peers
from edge.bench.plot import draw
from edge.bench.programs import FOLDER, Measured, Model, Program, Turn, in_turns, output_of, run_once
from edge.bench.publish import BEGIN, END, publish, tables
from edge.bench.record import read_record, write_record
from edge.bench.runs import whole_runs
from edge.bench.sheets import PARTS, bound_fps, sheet_of, times_as_fast
from models.matching import Agreement
from stream.errors import OutputError, UsageError, VideoDiscoError
from tests import clips
from tests.clips import Clip
from tests.commands import videodisco

DOCS = Path(__file__).parent.parent / "docs"
LOOKS = 5
STAGES = {"decode": 0.001, "inference": 0.016, "track": 0.001, "picture": 0.002, "draw and encode": 0.005}


def python(code: str, *, watched: str = "", name: str = "a program") -> Program:
    return Program(name, (sys.executable, "-c", code), watched=watched)


def program(name: str, seconds: list[float], *, ours: bool = True, records: bool = True) -> dict[str, Any]:
    figures = {"seconds": seconds, "frames": [100] * len(seconds), "steady_fps": [120 / each for each in seconds]}
    about = {"name": name, "model": "small", "device": "cpu", "records": records, "tracks": True, "ours": ours}
    return {
        **about,
        **figures,
        "loop_fps": figures["steady_fps"],
        "cpu_s": seconds,
        "memory_mb": [250.0] * len(seconds),
    }


def compare_figures() -> dict[str, Any]:
    seen = Agreement(matched=9, only_first=1, only_second=1, score_drift=0.01, box_iou=0.98, box_drift_px=0.5)
    return {"reference": "large", "other": "small", "confidence": 0.4, "pictures": 5} | seen.figures()


def record() -> dict[str, Any]:
    """As a whole bench writes one, with round figures."""
    return {
        "machine": {
            "time": "2026-11-23T00:00:00+00:00",
            "processor": "A Processor",
            "flags": ["avx2"],
            "cores": 2,
            "load": 0.1,
            "python": "3.11",
            "versions": {"numpy": "2"},
        },
        "clip": {"name": "clip.avi", "width": 768, "height": 576, "codec": "h264", "frames": 100},
        "model": "small",
        "reference": "large",
        "device": "cpu",
        "network": {"small": {"1 x 1 thread": 60.0, "2 x 1 thread": 118.0}},
        "stages": {
            "small": {"cores": 2, "stages_s": STAGES, "bound_fps": {"detections only": 111.1, "recording": 80.0}}
        },
        "runs": [program("plain loop", [4.0, 8.0], ours=False), program("videodisco run --save", [2.0, 2.0])],
        "peers": [
            program("ultralytics predict", [6.0], ours=False, records=False),
            program("videodisco run", [3.0], records=False),
        ],
        "agreement": compare_figures(),
        "start": [{"name": "videodisco --help", "seconds": [0.3]}],
        "memory": [{"name": "one camera", "memory_mb": [250.0]}],
    }


def test_a_program_is_told_what_it_held_and_not_what_its_parent_did() -> None:
    ballast = b"x" * 200_000_000  # of the process that measures
    small, large = run_once(python("pass")), run_once(python("x = b'x' * 100_000_000"))
    assert small.memory_mb is not None and large.memory_mb is not None
    assert small.memory_mb < 60 < 100 < large.memory_mb < 160
    assert len(ballast) == 200_000_000


def test_a_program_is_timed_with_its_processor_seconds() -> None:
    code = "import time\nuntil = time.process_time() + 0.3\nwhile time.process_time() < until: pass\ntime.sleep(0.3)"
    turn = run_once(python(code))
    assert turn.cpu_s is not None
    assert 0.3 <= turn.cpu_s <= turn.seconds - 0.3


def test_the_first_byte_of_a_watched_file_is_noticed() -> None:
    wait = "time.sleep(0.3)"
    code = f"import time\nfile = open(r'{FOLDER}/out', 'w')\n{wait}\nfile.write('a'); file.flush()\n{wait}"
    # nothing but a machine that stands still just then keeps it from being noticed at once
    for turn in (run_once(python(code, watched=f"{FOLDER}/out")) for _ in range(LOOKS)):
        assert turn.first_s is not None
        assert 0.3 <= turn.first_s < turn.seconds
        if turn.first_s <= turn.seconds - 0.3:
            break
    else:
        pytest.fail("it was noticed when the program ended, each time")
    assert run_once(python("pass", watched=f"{FOLDER}/out")).first_s is None


def test_what_a_program_prints_last_are_its_frames_and_seconds() -> None:
    turn = run_once(python("print('loading'); print(101, 4.0, 5.0)"))
    assert (turn.frames, turn.steady_fps, turn.loop_fps) == (101, 25.0, 101 / 5)
    assert run_once(python("print('nothing to tell')")).frames is None


def test_a_program_that_fails_is_named_with_what_it_said() -> None:
    with pytest.raises(VideoDiscoError, match=r"a program failed: .*no such clip"):
        run_once(python("raise SystemExit('no such clip')"))


def test_programs_run_in_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write = "open({!r}, 'a').write({!r})"
    programs = [python(write.format(str(log), name), name=name) for name in "ab"]
    measured = in_turns(programs, 2)
    assert log.read_text(encoding="utf-8") == "abab"
    assert [len(each.figures()["seconds"]) for each in measured] == [2, 2]


def test_the_file_that_a_program_leaves_is_read() -> None:
    assert output_of(python(f"open(r'{FOLDER}/left.json', 'w').write('{{\"a\": 1}}')"), "left.json") == {"a": 1}


def test_figures_that_no_turn_tells_are_left_out() -> None:
    figures = Measured(python("pass"), [Turn(1.0, None, None), Turn(2.0, None, None)]).figures()
    assert figures["seconds"] == [1.0, 2.0]
    assert not {"cpu_s", "memory_mb", "steady_fps"} & figures.keys()


def test_a_bound_leaves_out_what_a_program_does_not_do() -> None:
    bound = Bound(STAGES, cores=2)
    assert bound.fps(recording=True) == pytest.approx(2 / 0.025)
    assert bound.fps(recording=False) == pytest.approx(2 / 0.018)
    assert bound.fps(recording=False, tracking=False) == pytest.approx(2 / 0.017)


def test_each_turn_is_held_against_its_own() -> None:
    plain, ours = record()["runs"]
    assert times_as_fast(ours, plain, "seconds") == 3.0  # of 2 and 4: not 6 / 2
    assert times_as_fast(ours, plain, "steady_fps") == 3.0
    assert times_as_fast(ours, {}, "seconds") is None


def test_only_ours_on_the_device_that_was_measured_has_a_bound() -> None:
    whole = record()
    plain, ours = whole["runs"]
    assert bound_fps(whole, ours) == pytest.approx(80.0)
    assert bound_fps(whole, plain) is None
    assert bound_fps(whole, {**ours, "device": "openvino"}) is None
    assert bound_fps({**whole, "stages": {}}, ours) is None


def test_a_sheet_of_runs_says_shares_and_ratios() -> None:
    rows = {row[0]: row[1:] for row in sheet_of(record(), "runs").rows}
    # 100 frames in 2 s; the plain loop took 4 and 8 s; 2 cores allow 80 frames a second, 60 of which came steadily
    assert rows["videodisco run --save"] == ("2.0", "50.0", "3.00", "0.63", "0.75", "20.0", "250")
    assert rows["plain loop"][2:5] == ("1.00", "", "")


def test_a_sheet_of_agreement_names_both_models() -> None:
    sheet = sheet_of(record(), "agreement")
    assert "large" in sheet.title
    assert sheet.rows == [("small", "0.900", "10", "5", "0.98", "0.01", "0.5")]


@pytest.mark.slow
def test_two_builds_of_a_model_are_compared_on_a_clip(carphone_clip: Path) -> None:
    same = compare(carphone_clip, "nanodet-g-416", "nanodet-g-416", "cpu", pictures=20)
    assert (same["f1"], same["mean_box_drift_px"]) == (1.0, 0.0)
    assert same["pictures"] == 20 <= same["boxes"]


def test_live_figures_are_plain_values() -> None:
    sink = AgeSink("door")
    figures = asdict(sink.figures(1.0, {"stale": 2}))
    assert json.loads(json.dumps(figures))["dropped"] == {"stale": 2}


def test_a_record_comes_back_without_digits_that_nobody_measured(tmp_path: Path) -> None:
    path = tmp_path / "new" / "record.json"
    write_record(path, {"machine": {}, "seconds": [1.23456789], "frames": 100000})
    assert read_record(path) == {"machine": {}, "seconds": [1.2346], "frames": 100000}


@pytest.mark.parametrize("content", ["{", "[]", '{"clip": {}}'])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"other\.json"):
        read_record(path)


def test_a_page_gets_tables_and_a_picture_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    publish([record()], page)
    first = page.read_text(encoding="utf-8"), (tmp_path / "page.svg").read_bytes()
    assert first[0].startswith("before\n") and first[0].endswith("\nafter\n") and "old" not in first[0]
    assert "| videodisco run --save | 2.0 | 50.0 | 3.00 | 0.63 |" in first[0]
    assert b"videodisco run --save" in first[1]
    publish([record()], page)
    assert (page.read_text(encoding="utf-8"), (tmp_path / "page.svg").read_bytes()) == first


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no place for figures"):
        publish([record()], page)
    assert page.read_text(encoding="utf-8") == "words\n"


def test_a_picture_of_nothing_or_to_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to draw"):
        draw([{name: told for name, told in record().items() if name not in PARTS}], tmp_path / "a.svg")
    with pytest.raises(OutputError, match="cannot write"):
        draw([record()], tmp_path / "no" / "a.svg")


def test_the_documentation_shows_the_records_beside_it() -> None:
    records = [read_record(path) for path in sorted((DOCS / "benchmarks").glob("*.json"))]
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert records and f"{BEGIN}\n\n{tables(records)}\n{END}" in page
    assert "](benchmarks.svg)" in page and (DOCS / "benchmarks.svg").exists()


@pytest.mark.skipif(os.name == "nt", reason="stands a script in for a Python")
def test_peers_run_the_same_model_and_clip_in_all_ways(tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\n[ "$1" = -c ] || echo 11 1.0 2.0 "$@" >&2\necho 11 1.0 2.0\n', encoding="utf-8")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    clip, models = tmp_path / "clip.avi", [Model(name, name, tmp_path / name) for name in ("m", "m-int8")]
    raced = peers(stand_in, clip, models, ("cpu", "openvino"))
    assert [each.name for each in raced if each.records] == [
        "ultralytics predict save=True",
        "supervision.process_video",
        "plain OpenCV loop, recording",
        "videodisco run --save",
        "videodisco run --save --device openvino",
        "videodisco run --save --model m-int8",
    ]
    assert all(str(clip) in each.command for each in raced)
    theirs = [each for each in raced if each.command[0] == str(stand_in)]
    assert [run_once(each).steady_fps for each in theirs] == [10.0, 10.0, 10.0]


def test_an_environment_without_peers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no ultralytics"):
        peers(Path("/bin/false"), tmp_path / "clip.avi", [Model("m", "m", tmp_path / "m")], ("cpu",))


def test_an_unknown_part_is_refused_with_the_known_ones(carphone_clip: Path, tmp_path: Path) -> None:
    ended = videodisco("bench", carphone_clip, "--only", "speed", cwd=tmp_path)
    assert ended.code == 2
    assert "no part speed" in ended.sentence and "agreement" in ended.sentence


@pytest.mark.slow
def test_the_plain_loop_and_ours_tell_of_every_frame(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "clip.mp4", Clip(frames=20))
    int8, reference = Model.of("nanodet-g-416-int8"), Model.of("nanodet-g-416")
    programs = {each.name: each for each in whole_runs(clip, int8, reference, "cpu")}
    assert len(programs) == 5
    for name in ("plain OpenCV loop, recording (float)", "videodisco run --save --no-mlflow"):
        turn = run_once(programs[name])
        assert turn.frames == 20
        assert turn.steady_fps and turn.loop_fps
        assert turn.frames / turn.loop_fps > (turn.frames - 1) / turn.steady_fps, "the loop's seconds are more"
        assert turn.memory_mb and 150 < turn.memory_mb < 600


@pytest.mark.slow
def test_the_network_alone_is_timed_in_every_split(carphone_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TURN_S", 0.2)
    seen = splits(carphone_clip, "nanodet-g-416-int8", "cpu")
    assert "1 x 1 thread" in seen
    assert all(fps > 0 for fps in seen.values())


@pytest.mark.slow
def test_the_start_is_measured_and_kept(carphone_clip: Path, tmp_path: Path) -> None:
    ended = videodisco(
        "bench", carphone_clip, "--only", "start", "--turns", "1", "--json", "kept/record.json", cwd=tmp_path
    )
    assert ended.code == 0, ended.err
    shown, first = read_record(tmp_path / "kept" / "record.json")["start"]
    assert "first_s" not in shown
    assert 0 < first["first_s"][0] < first["seconds"][0]
    assert "videodisco run, the first frame alone" in ended.out


@pytest.mark.slow
def test_live_ages_are_measured_in_a_process_of_their_own(carphone_clip: Path, tmp_path: Path) -> None:
    ended = videodisco("bench", carphone_clip, "--live", "--seconds", "2", "--json", "live.json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    camera = read_record(tmp_path / "live.json")["live"]["cameras"][0]
    assert 0 < camera["age_s"][0] <= camera["age_s"][2]
    assert "age of results at the sink" in ended.out
