"""Stories told by a random generator: `python seeded_stories.py SEED ...` prints their digests."""

from __future__ import annotations

import sys
from hashlib import blake2b
from random import Random

from scheduling_cluster import gang, needs
from watched_cluster import LivelyCluster

from hqtrio.model.resources import Policy
from hqtrio.model.worker import LossReason

CLASSES = (
    (needs(1),),
    (needs(2),),
    (needs(0.5),),
    (needs("all"),),
    (needs(2, policy=Policy.FORCE_COMPACT), needs(1, foo=0.25)),
    (needs(1, gpus=1, weight=2.0), needs(3)),
    (needs(1, time_s=50.0),),
    (gang(2),),
)
SHAPES = (
    {"cpus": 4, "foo": 2},
    {"cpus": (2, 2), "gpus": (1, 1), "coupling": [("cpus", 0, "gpus", 0)]},
    {"cpus": (4, 4), "gpus": 2, "min_utilization": 0.5},
    {"cpus": 6, "remaining_s": 100.0},
)


class Story(LivelyCluster):
    """Its digest names every effect in order."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.digest = blake2b(digest_size=16)
        super().__init__()

    def _perform(self, effects):
        self.digest.update(repr(effects).encode())
        super()._perform(effects)

    def tell(self, steps: int) -> str:
        acts = (self._submit, self._submit, self._join, self._end, self._end, self._leave)
        for _ in range(steps):
            self.rng.choice(acts)()
            if self.rng.random() < 0.7:
                self.settle()
        return self.digest.hexdigest()

    def _submit(self):
        variants, count = self.rng.choice(CLASSES), self.rng.randint(1, 12)
        tasks = self.submit(*variants, priority=self.rng.randint(-1, 2), count=count)
        if self.rng.random() < 0.2:
            self.cancel(tasks[::2])

    def _join(self):
        if len(self.workers) < 5:
            shape = dict(self.rng.choice(SHAPES))
            self.join(shape.pop("cpus"), **shape)

    def _end(self):
        for worker in self.workers.values():
            for task in sorted(worker.running):
                if self.rng.random() < 0.5:
                    worker.end(task, took=self.rng.choice((0.01, 1.0, 30.0)))

    def _leave(self):
        if self.rng.random() < 0.3 and self.workers:
            self.lose(self.rng.choice(list(self.workers.values())), LossReason.CONNECTION_LOST)
        self.pass_time(self.rng.choice((0.1, 2.0, 70.0)))
        self.wake()


def main() -> None:
    for seed in sys.argv[1:]:
        print(Story(int(seed)).tell(60))


if __name__ == "__main__":
    main()
