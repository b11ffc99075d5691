import csv
import html
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from goodteacher.base.errors import StoreError
from goodteacher.diagnose.results import Results
from goodteacher.report import page
from goodteacher.report.conclusion import conclusion
from goodteacher.report.page import page_values, results_table, write_page


class Reader(HTMLParser):
    """Collects tags, what they load, scripts and text."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.scripts, self.cells, self.ids, self.text, self._tag = [], [], [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._tag = tag
        known = dict(attributes)
        self.loads += [known[k] for k in ("src", "href", "data", "action", "srcset") if k in known]
        self.ids += [known["id"]] if "id" in known else []
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self._tag == "script":
            self.scripts[-1] += data
        elif self._tag == "td":
            self.cells.append(data)
        if self._tag not in ("script", "style"):
            self.text += data

    def handle_endtag(self, tag):
        self._tag = ""


@pytest.fixture(scope="module")
def results(digits_study):
    return digits_study.results


@pytest.fixture(scope="module")
def text(results):
    return write_page(results).read_text(encoding="utf-8")


@pytest.fixture
def copy(results, tmp_path):
    shutil.copytree(results.store.root, tmp_path, dirs_exist_ok=True)
    return Results(tmp_path / "studies" / "tiny")


def test_nothing_is_loaded_from_anywhere(text):
    reader = Reader(text)
    assert reader.loads == []
    head = text[: text.index("<script>")]
    assert "http" not in head and "@import" not in head and "url(" not in head


def test_the_drawing_library_is_inside_and_every_figure_is_drawn(text):
    bundle, calls = Reader(text).scripts
    assert len(bundle) > 300_000 and "vegaEmbed" in bundle
    drawn = re.findall(r'^\s*vegaEmbed\("#chart-(\w+)", (\{.*\}), \{actions: false\}\);$', calls, re.MULTILINE)
    assert [name for name, _ in drawn] == ["scatter", "reliability", "curves"]
    assert all(json.loads(spec)["datasets"] for _, spec in drawn)
    assert [i for i in Reader(text).ids if i.startswith("chart-")] == [f"chart-{name}" for name, _ in drawn]


def test_n_conclusion_environment_and_study_are_said(results, text):
    said = Reader(text).text
    assert conclusion(results) in said and "n = 3 seeds of 250 examples" in said
    assert results.facts.summary in said
    run = results.run(results.teachings["plain"][0].runs[0])
    for name, value in run.result.environment.items():
        assert f"{name} {value}" in said
    assert "27 runs" in said and "precision fp32" in said and "validation split alone" in said
    assert all(run_id in said for run_id in {c.run for c in results.plan.cells})
    assert '"best_brier"' in html.unescape(said)


def test_every_cell_of_every_table_is_there(results, text):
    cells = Reader(text).cells
    for grid in page_values(results)["grids"]:
        for row in grid.rows:
            assert all(cell in cells for cell in row)


def test_names_are_escaped_in_text_and_in_figures(copy, monkeypatch):
    evil = "</script><script>alert(1)</script><b>&"
    copy.study = copy.study.model_copy(update={"name": evil})
    copy.facts = replace(copy.facts, notes=(evil,), summary=evil)
    copy.ranked[0].__dict__["name"] = evil
    plain = copy.reliability_logits("plain")
    monkeypatch.setattr(Results, "reliability_logits", lambda self, arm: plain)
    monkeypatch.setattr(Results, "alarms", lambda self: [evil])
    reader = Reader(write_page(copy).read_text())
    assert len(reader.scripts) == 2 and reader.text.count("alert(1)") >= 5
    assert '"teacher":"<\\/script>' in reader.scripts[1].replace('": "', '":"')


def test_alarms_and_missing_runs_are_shown(copy):
    lost = copy.teachings["focal"][2].runs[0]
    shutil.rmtree(copy.store.root / "runs" / lost)
    partial = Results(copy.folder)
    run = partial.run(partial.teachings["plain"][0].runs[0])
    run.__dict__["result"] = replace(run.result, alarms=("it learns nothing",))
    said = Reader(write_page(partial).read_text()).text
    assert (
        "it learns nothing" in said and f"1 planned run is not finished: {lost}." in said and "partial result" in said
    )


def test_the_csv_holds_the_results(results):
    write_page(results)
    written = (results.folder / "results.csv").read_text()
    assert written == results_table(results)
    rows = list(csv.DictReader(io.StringIO(written)))
    assert len(rows) == 15 == len({row["run"] for row in rows})
    runs = {(c.student, c.teacher or "", str(c.seed)): c.run for c in results.plan.cells}
    for row in rows:
        assert row["run"] == runs[row["student"], row["teacher"], row["seed"]]
        want = results.student_values[row["student"], row["teacher"] or None][int(row["seed"])]
        for name in ("accuracy", "nll", "brier", "ece"):
            assert float(row[name]) == pytest.approx(want[name], abs=1e-6)


def test_a_study_with_known_truth_shows_distances(gaussian_study):
    values = page_values(gaussian_study.results)
    assert [g.title.split(",")[0] for g in values["grids"]] == [
        "Teachers",
        "Students on test",
        "Teachers' distance to the true label distribution",
    ]


def test_the_page_appears_whole_or_not_at_all(copy, monkeypatch):
    path = write_page(copy)
    before = path.read_bytes()
    copy.study = copy.study.model_copy(update={"name": "another"})
    seen = []
    whole = page.write_atomically

    def failing(target, write):
        def half(file):
            write(file)
            file.flush()
            seen.append(path.read_bytes() == before)
            raise OSError(28, "No space left on device")

        whole(target, half)

    monkeypatch.setattr(page, "write_atomically", failing)
    with pytest.raises(StoreError, match="disk full"):
        write_page(copy)
    assert seen == [True] and path.read_bytes() == before
    assert sorted(p.name for p in copy.folder.iterdir()) == ["plan.json", "report.html", "results.csv", "study.json"]
