"""What the queue of weights does in a step (hls/weights_ahead.hpp): which beats it is given, and which it gives."""

from __future__ import annotations

from dataclasses import dataclass

DISTANCE = 8  # iterations of its loop that a pipeline may hold a beat: WEIGHT_QUEUE_DISTANCE in hls/weights_ahead.hpp
LEAST_WORDS = 2 * DISTANCE  # with which a pass of any number of beats goes through
BEHIND_QUEUE = 64  # beats that have come out of it and wait to be laid out: popped_weights in hls/engine.cpp
PUSHES_WAIT = 64  # iterations that pushes come behind pops which do not need them: the first beat is as late as that


@dataclass(frozen=True)
class Burst:
    """Beats of weights of one layer that lie one after the other in the weight image, from word ``start`` on."""

    layer: int
    start: int
    beats: int


@dataclass(frozen=True)
class QueueStep:
    """What a step fetches into the queue (pushes), and what its weights buffer takes from it (pops), in beats.

    push_at, pop_at: the words of the queue with which that begins, from where it goes on word by word, and from the
    last one to the first. push_from, pop_from: the iterations of its loop with which it begins, one beat in each.
    """

    bursts: tuple[Burst, ...] = ()
    pops: int = 0
    push_at: int = 0
    pop_at: int = 0
    push_from: int = 0
    pop_from: int = 0

    @property
    def pushes(self) -> int:
        """Beats that are fetched."""
        return sum(burst.beats for burst in self.bursts)

    @property
    def cycles(self) -> int:
        """Iterations of the loop."""
        pushed = self.push_from + self.pushes if self.bursts else 0
        return max(pushed, self.pop_from + self.pops if self.pops else 0)

    @staticmethod
    def of(bursts: tuple[Burst, ...], pops: int, pushed: int, popped: int, words: int) -> QueueStep:
        """Of a queue of so many words. pushed, popped: beats that have gone into it and out of it, from the first one on.

        A pop comes DISTANCE iterations behind the push of its beat, and so does a push behind the pop from its word.
        """
        held, pushes = pushed - popped, sum(burst.beats for burst in bursts)
        behind = min(PUSHES_WAIT, pops)  # iterations that pushes come behind pops; negative: pops behind pushes
        if pops > held:
            behind = min(behind, held - DISTANCE)
        if held + pushes > words:
            behind = max(behind, held - words + DISTANCE)
        if not pushes or not pops:
            behind = 0
        return QueueStep(
            bursts,
            pops,
            push_at=pushed % words if pushes else 0,
            pop_at=popped % words if pops else 0,
            push_from=max(behind, 0),
            pop_from=max(-behind, 0),
        )
