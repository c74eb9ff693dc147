"""``videodisco run``: process recorded videos, or watch cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edge.config import RunSettings

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE...",
        help="Camera addresses (rtsp://...) and webcam numbers; or video files, folders, globs; or list files.",
    ),
]


def run(
    sources: Sources = None,
    config: Annotated[Path | None, typer.Option(help="Settings from a YAML file; options override it.")] = None,
    model: Annotated[str | None, typer.Option(help="A bundled model's name or an ONNX file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, coreml or openvino.")] = None,
    require_provider: Annotated[
        str | None, typer.Option(help="Refuse to run with anything else than cpu, cuda, coreml or openvino.")
    ] = None,
    conf: Annotated[
        float | None, typer.Option(help="Least confidence of a detection, 0 to 1. \\[default: 0.4]")
    ] = None,
    iou: Annotated[float | None, typer.Option(help="Most overlap of two boxes of a class. \\[default: 0.6]")] = None,
    max_det: Annotated[int | None, typer.Option(help="Most boxes a frame. \\[default: 300]")] = None,
    imgsz: Annotated[int | None, typer.Option(help="Longest side of the network's input, in pixels.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names or numbers to keep, with commas: person,car or 0,2.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Inference threads. \\[default: one a usable core]")] = None,
    tracker: Annotated[str | None, typer.Option(help="bytetrack, ocsort or off. \\[default: bytetrack]")] = None,
    vid_stride: Annotated[int | None, typer.Option(help="Detect in every n-th frame. \\[default: 1]")] = None,
    start: Annotated[float | None, typer.Option(help="Begin at this second of each file.")] = None,
    end: Annotated[float | None, typer.Option(help="End at this second of each file, or of cameras.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Watch the cameras in a window; press h there.")] = False,
    rtsp_transport: Annotated[
        str | None, typer.Option(help="How RTSP cameras send: tcp or udp. \\[default: tcp]")
    ] = None,
    detect_fps: Annotated[float | None, typer.Option(help="Detect at most so often a second and camera.")] = None,
    motion: Annotated[
        str | None, typer.Option(help="auto: look at still scenes now and then only; off: always. \\[default: auto]")
    ] = None,
    max_staleness: Annotated[
        float | None, typer.Option(help="Leave out pictures older than so many seconds. \\[default: 0.5]")
    ] = None,
    wait: Annotated[bool | None, typer.Option("--wait", help="Wait for cameras that are not there yet.")] = None,
    realtime: Annotated[bool | None, typer.Option("--realtime", help="Play files as if they were cameras.")] = None,
    loop: Annotated[bool | None, typer.Option("--loop", help="Play them over and over.")] = None,
    save: Annotated[bool | None, typer.Option("--save", help="Record the annotated video.")] = None,
    save_txt: Annotated[bool | None, typer.Option("--save-txt", help="Write YOLO labels.")] = None,
    save_conf: Annotated[bool | None, typer.Option("--save-conf", help="Add confidence to YOLO labels.")] = None,
    save_crop: Annotated[bool | None, typer.Option("--save-crop", help="Save a picture of every detection.")] = None,
    save_csv: Annotated[bool | None, typer.Option("--save-csv", help="Write predictions.csv as well.")] = None,
    project: Annotated[Path | None, typer.Option(help="Folder of all runs. \\[default: runs]")] = None,
    name: Annotated[str | None, typer.Option(help="Folder of this run. \\[default: run]")] = None,
    exist_ok: Annotated[bool | None, typer.Option("--exist-ok", help="Write into an existing folder.")] = None,
    resume: Annotated[bool | None, typer.Option("--resume", help="Skip what a former run finished.")] = None,
    mlflow: Annotated[bool | None, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow. \\[default: on]")] = None,
    mlflow_uri: Annotated[str | None, typer.Option(help="An MLflow server. \\[default: a local store]")] = None,
    mlflow_wait: Annotated[
        bool | None, typer.Option("--mlflow-wait", help="End only when MLflow has it all; for containers.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. \\[default: videodisco]")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print what happens inside, and tracebacks.")] = False,
) -> int:
    """Detect and track objects in recorded videos, or before live cameras.

    Makes runs/NAME with predictions.jsonl and summary.json; --save adds the annotated video. Of a file every frame
    is processed, in order; of a camera always the newest, until Ctrl-C. Exit codes: 0 done, 2 usage or output,
    3 no source opened, 4 model refused, 5 finished with losses, 130 Ctrl-C.
    """
    from edge.cli.execute import execute
    from edge.cli.options import overlay_options

    values: dict[str, Any] = {
        "sources": tuple(sources) if sources else None,
        "start_s": start,
        "end_s": end,
        "vid_stride": vid_stride,
        "tracker": tracker,
        "resume": resume,
        "realtime": realtime,
        "defaults": {
            "rtsp_transport": rtsp_transport,
            "detect_fps": detect_fps,
            "motion": motion,
            "max_staleness_s": max_staleness,
            "wait": wait,
            "loop": loop,
        },
        "detector": {
            "model": model,
            "device": device,
            "require_provider": require_provider,
            "confidence": conf,
            "iou": iou,
            "max_detections": max_det,
            "image_size": imgsz,
            "workers": workers,
            "classes": tuple(part.strip() for part in classes.split(",") if part.strip()) if classes else None,
        },
        "output": {
            "project": project,
            "name": name,
            "exist_ok": exist_ok,
            "video": save,
            "labels": save_txt,
            "label_confidence": save_conf,
            "crops": save_crop,
            "csv": save_csv,
        },
        "mlflow": {"enabled": mlflow, "uri": mlflow_uri, "wait": mlflow_wait, "experiment": experiment},
    }

    def settings() -> RunSettings:
        return overlay_options(config, values)

    return execute(settings(), show=show, reload=settings if config else None, quiet=quiet, debug=debug)
