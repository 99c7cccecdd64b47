"""The program with a server that cannot handle jobs called `poison`.

Run in place of `python -m hqtrio`: the job book raises over their ends, and over their opening.
"""

from __future__ import annotations

import sys

from actors.daemon import program
from hqtrio.ids import job_of
from hqtrio.jobs import machine
from hqtrio.messages.client import OpenJob
from hqtrio.messages.columns import read_u64

NAME = "poison"


def poison() -> None:
    apply_ended, respond = machine.apply_ended, machine.JobBook._respond

    def ended(tables, worker, fact, *more):
        for task in read_u64(fact.tasks):
            job = tables.jobs.get(job_of(task))
            if job is not None and job.head.name == NAME:
                raise ZeroDivisionError(f"over the end of {task}")
        apply_ended(tables, worker, fact, *more)

    def responds(book, call, now):
        if isinstance(call.request, OpenJob) and call.request.head.name == NAME:
            raise ZeroDivisionError("over a request")
        respond(book, call, now)

    machine.apply_ended, machine.JobBook._respond = ended, responds
    # Whoever keeps the server alive starts this program again.
    program.own_words = lambda: [sys.executable, "-P", __file__]


if __name__ == "__main__":
    poison()
    from hqtrio.__main__ import main

    sys.exit(main())
