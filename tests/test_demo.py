from __future__ import annotations

from goodteacher import demo
from goodteacher.api import load_problem, run_study
from goodteacher.study.plan import plan_study


def test_the_demo_plans_what_it_promises():
    for study in (demo.digits(), demo.gaussian()):
        plan = plan_study(study, load_problem(study).facts)
        # 5 teachers, two of them one training; 5 taught students and one alone; 5 seeds
        assert len(plan.runs) == 5 * (5 + 5 + 1)
        assert len({spec.training_id for spec in plan.runs.values()}) == 5 * (4 + 5 + 1)


def test_the_demo_runs_small(tmp_path):
    study = demo.digits(2).model_copy(update={"recipe": demo.digits().recipe.model_copy(update={"epochs": 2})})
    finished = run_study(study, out=tmp_path, page=True)
    assert finished.summary.failed == {} and (finished.folder / "report.html").exists()
    assert {row.teacher for row in finished.results.students} == {None, *demo.TEACHERS}
