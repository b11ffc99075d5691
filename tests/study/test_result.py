from __future__ import annotations

import json

from goodteacher.study.result import RunResult


def test_a_result_reads_back_from_json():
    result = RunResult(7, 1.25, "bf16", ("it learns nothing",), 1234, {"torch": "2"}, "cpu", "resnet.pth")
    assert RunResult.read(json.loads(json.dumps(result.stored()))) == result


def test_a_result_of_earlier_versions_names_no_file():
    earlier = {
        "epoch": 2, "seconds": 0.5, "precision": "fp32", "alarms": [], "parameters": 10, "environment": {}, "device": "cpu",
    }  # fmt: skip
    assert RunResult.read(earlier) == RunResult(2, 0.5, "fp32", (), 10, {}, "cpu")
