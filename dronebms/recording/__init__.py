# SPDX-License-Identifier: Apache-2.0
"""Recordings of a run: file format, recorder, folder of a service, and gauges for the replay."""

from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.gauge_tap import PlayedGauge, SteppedGauge, TappedGauge, TappedSource
from dronebms.recording.reading import is_recording, read_records
from dronebms.recording.recorder import Recorder, SingleFile
from dronebms.recording.records import Poll, Record, Recorded, Shown, Start, Step

__all__ = [
    "Bounds",
    "Folder",
    "PlayedGauge",
    "Poll",
    "Record",
    "Recorded",
    "Recorder",
    "Shown",
    "SingleFile",
    "Start",
    "Step",
    "SteppedGauge",
    "TappedGauge",
    "TappedSource",
    "is_recording",
    "read_records",
]
