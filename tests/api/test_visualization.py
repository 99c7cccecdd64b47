"""Pictures of jobs."""

from __future__ import annotations

import pytest

from hqtrio import Job, ValidationException, visualize_job


def drawn(job, tmp_path):
    visualize_job(job, tmp_path / "job.dot")
    return (tmp_path / "job.dot").read_text()


def test_s8_14_a_graph_with_its_nodes_and_edges_in_order(tmp_path):
    job = Job()
    a = job.program(["true"], name="a")
    b1 = job.program(["true"], name="b1", deps=[a])
    b2 = job.program(["true"], name="b2", deps=[a])
    c1 = job.program(["true"], name="c1", deps=[b1, b2])
    c2 = job.program(["true"], name="c2", deps=[b1, b2])
    job.program(["true"], name="d", deps=[c1, c2])

    assert drawn(job, tmp_path) == (
        "digraph job {\n"
        "a;\n"
        "b1;\na -> b1;\n"
        "b2;\na -> b2;\n"
        "c1;\nb1 -> c1;\nb2 -> c1;\n"
        "c2;\nb1 -> c2;\nb2 -> c2;\n"
        "d;\nc1 -> d;\nc2 -> d;\n"
        "}\n"
    )


def test_names_that_are_no_plain_words_are_quoted(tmp_path):
    job = Job()
    for name in ("foo/0", 'say "hi"', "back\\slash", "Node", None):
        job.program(["true"], name=name)

    assert drawn(job, tmp_path).splitlines()[1:-1] == [
        '"foo/0";',
        r'"say \"hi\"";',
        r'"back\\slash";',
        '"Node";',
        "4;",
    ]


def test_tasks_of_one_name_are_nodes_of_their_own(tmp_path):
    job = Job()
    one = job.program(["true"], name="x")
    job.program(["true"], name="x", deps=[one])

    assert drawn(job, tmp_path) == 'digraph job {\nx;\n"x (1)" [label=x];\nx -> "x (1)";\n}\n'


def test_what_is_no_job_has_no_picture(tmp_path):
    with pytest.raises(ValidationException, match="job has to be a Job"):
        visualize_job("job", tmp_path / "job.dot")

    assert not (tmp_path / "job.dot").exists()
