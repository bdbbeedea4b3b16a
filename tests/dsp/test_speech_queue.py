"""Speech is cut into whole chunks, and its utterances end where they were marked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.dsp.speech_queue import Chunk, SpeechQueue


def drained(queue: SpeechQueue) -> list[Chunk]:
    chunks = []
    while (chunk := queue.take()) is not None:
        chunks.append(chunk)
    return chunks


def test_whole_chunks_only_and_the_rest_waits() -> None:
    queue = SpeechQueue(4, 100)
    assert queue.add(b"abcdef") == b"abcdef"
    assert drained(queue) == [Chunk(b"abcd")]
    assert len(queue) == 2
    queue.add(b"gh")
    assert drained(queue) == [Chunk(b"efgh")]


def test_a_mark_fills_the_last_chunk_up() -> None:
    queue = SpeechQueue(4, 100)
    queue.add(b"abcde")
    queue.mark()
    queue.mark()
    assert queue.marks == 1
    queue.add(b"fghi")
    assert drained(queue) == [Chunk(b"abcd"), Chunk(b"e\0\0\0", last=True), Chunk(b"fghi")]
    queue.mark()
    assert drained(queue) == [Chunk(b"\0\0\0\0", last=True)], "told late: one chunk of silence carries the end"


def test_what_does_not_fit_is_refused() -> None:
    queue = SpeechQueue(4, 6)
    assert queue.add(b"abcdefgh") == b"abcdef"
    assert queue.add(b"x") == b""
    assert queue.refused == 3
    queue.mark()
    queue.clear()
    assert (len(queue), queue.marks, queue.take()) == (0, 0, None)


@given(st.lists(st.binary(max_size=30) | st.none(), max_size=40))
def test_nothing_is_lost_and_every_mark_ends_once(steps: list[bytes | None]) -> None:
    queue, said, marks = SpeechQueue(8, 10_000), b"", 0
    for step in steps:
        if step is None:
            queue.mark()
        else:
            said += queue.add(step)
        marks = max(marks, queue.marks)
    chunks = drained(queue)
    assert all(len(chunk.data) == 8 for chunk in chunks)
    assert sum(chunk.last for chunk in chunks) == marks
    if not marks:
        assert b"".join(chunk.data for chunk in chunks) == said[: len(said) // 8 * 8]
