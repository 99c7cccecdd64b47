"""The streamer process: what it writes, when it answers, and what it does with failures."""

from __future__ import annotations

import os
import resource
import signal
import stat

import pytest
from streamer_child import StreamerChild, wait_drained, wait_until

from actors.launcher.streams import DIED
from hqtrio.errors import InputError


def output(files, task, channel=0):
    return b"".join(map(files.read, files.index.find(1, task).pieces(channel)))


def test_all_tasks_share_one_file_that_only_its_owner_reads(streamer):
    for task in range(20):
        streamer.say(task, b"Hello from %d\n" % task)

    (path,) = streamer.log.iterdir()
    assert path.suffix == ".hqs" and len(path.stem) == 12 and path.stem.isalnum()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [output(streamer.files(), task) for task in (0, 19)] == [
        b"Hello from 0\n",
        b"Hello from 19\n",
    ]


def test_b42_a_stream_has_ended_when_both_channels_have(streamer):
    number, pipes = streamer.open(1)
    os.write(pipes[0], b"x" * 10_000)
    os.close(pipes[0])
    streamer.say(2, b"flushes what came before")
    assert not streamer.files().index.find(1, 1).is_finished

    os.close(pipes[1])

    assert streamer.hear() == [(number, "")]
    assert streamer.files().index.find(1, 1).is_finished


def test_s5_07_a_few_bytes_of_a_running_task_are_not_visible_yet(streamer):
    _, pipes = streamer.open(1, mask=1)
    os.write(pipes[0], b"few")
    wait_drained(pipes[0])

    assert streamer.files().index.jobs() == []
    os.close(pipes[0])


def test_what_waits_in_memory_is_written_after_a_while(tmp_path):
    streamer = StreamerChild(tmp_path, flush_after_s=0.0)
    _, pipes = streamer.open(1, mask=1)
    os.write(pipes[0], b"few")
    wait_until(lambda: any(b"few" in path.read_bytes() for path in streamer.log.glob("*")))
    os.close(pipes[0])
    streamer.end()


def test_b44_a_file_that_nobody_streams_to_is_closed_and_used_again(tmp_path):
    streamer = StreamerChild(tmp_path, idle_s=0.0)
    streamer.say(1, b"one")
    (path,) = streamer.log.iterdir()
    fds = f"/proc/{streamer.process.pid}/fd"
    wait_until(
        lambda: not any(os.path.realpath(f"{fds}/{fd}") == str(path) for fd in os.listdir(fds))
    )

    streamer.say(2, b"two")

    assert list(streamer.log.iterdir()) == [path]
    assert [output(streamer.files(), task) for task in (1, 2)] == [b"one", b"two"]
    streamer.end()


def test_what_was_received_outlives_the_worker(streamer):
    _, pipes = streamer.open(1, mask=1)
    os.write(pipes[0], b"Start\n")

    assert streamer.end() == 0

    execution = streamer.files().index.find(1, 1)
    assert output(streamer.files(), 1) == b"Start\n"
    assert not execution.is_finished
    os.close(pipes[0])


def test_a_stream_that_is_cut_has_what_was_received(streamer):
    number, pipes = streamer.open(1, mask=1)
    os.write(pipes[0], b"Start\n")
    wait_drained(pipes[0])
    streamer.streams.cut(number)
    streamer.say(2, b"")

    assert output(streamer.files(), 1) == b"Start\n"
    assert streamer.files().index.find(1, 1).is_finished
    os.close(pipes[0])


def test_only_the_last_instance_counts_in_whatever_order_they_come(streamer):
    streamer.say(1, b"second", instance=1)
    streamer.say(1, b"first!", instance=0)
    streamer.say(2, b"old", instance=0)
    streamer.say(2, b"new!", instance=3)

    files = streamer.files()
    assert (output(files, 1), output(files, 2)) == (b"second", b"new!")
    summary = files.index.summary(len(files))
    assert (summary.tasks, summary.superseded, summary.superseded_sizes) == (2, 2, [9, 0])


def test_a_killed_streamer_is_told_of_every_open_stream(streamer):
    number, pipes = streamer.open(1, mask=1)
    os.write(pipes[0], b"x")
    wait_drained(pipes[0])
    streamer.process.kill()

    assert streamer.hear() == [(number, DIED)]
    os.close(pipes[0])


def test_a_directory_that_cannot_be_made_fails_its_tasks_only(streamer, tmp_path):
    (tmp_path / "file").touch()
    number, pipes = streamer.open(1, mask=1, log=tmp_path / "file")

    ((failed, why),) = streamer.hear()
    assert failed == number
    assert why.startswith("Creating stream file failed") and why.endswith("(os error 20)")
    streamer.say(2, b"fine")
    os.close(pipes[0])


def test_a_file_that_was_removed_is_made_anew(streamer):
    streamer.say(1, b"lost")
    for path in streamer.log.iterdir():
        path.unlink()

    streamer.say(2, b"kept")

    assert output(streamer.files(), 2) == b"kept"


def test_an_incomplete_tail_is_left_out(streamer):
    streamer.say(1, b"a" * 100)
    streamer.say(2, b"b" * 100)
    (path,) = streamer.log.iterdir()
    whole = path.read_bytes()
    end_of_first = whole.index(b"a" * 100) + 100

    for size in range(end_of_first, len(whole), 7):
        path.write_bytes(whole[:size])
        assert output(streamer.files(), 1) == b"a" * 100


def test_files_without_a_whole_header_are_passed_over(streamer):
    streamer.say(1, b"text")
    (path,) = streamer.log.iterdir()
    (streamer.log / "empty.hqs").touch()
    (streamer.log / "begun.hqs").write_bytes(path.read_bytes()[:9])

    files = streamer.files()
    assert len(files) == 1 and output(files, 1) == b"text"


def test_damaged_data_is_told_with_its_place(streamer):
    streamer.say(1, b"text" * 10)
    (path,) = streamer.log.iterdir()
    content = path.read_bytes()
    at = content.index(b"text")
    path.write_bytes(content.replace(b"text" * 10, b"best" + b"text" * 9))

    with pytest.raises(InputError, match=rf"{path.name}` is damaged at offset {at}"):
        output(streamer.files(), 1)


def test_what_is_behind_a_damaged_head_is_not_read(streamer, caplog):
    streamer.say(1, b"one")
    streamer.say(2, b"two")
    (path,) = streamer.log.iterdir()
    content = bytearray(path.read_bytes())
    content[content.index(b"two") - 5] ^= 1
    path.write_bytes(content)

    files = streamer.files()
    assert output(files, 1) == b"one"
    assert output(files, 2) == b""
    assert f"{path.name}` is damaged at offset" in caplog.text


def test_a_write_that_fails_fails_the_task_and_leaves_whole_frames_only(streamer):
    streamer.say(1, b"a" * 1000)
    resource.prlimit(streamer.process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    number, pipes = streamer.open(2, mask=1)
    os.write(pipes[0], b"b" * 30_000)

    ((failed, why),) = streamer.hear()
    assert failed == number
    assert why.startswith("writing `") and why.endswith("File too large (os error 27)")
    with pytest.raises(BrokenPipeError):
        os.write(pipes[0], b"nobody reads this")
    os.close(pipes[0])
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(streamer.process.pid, resource.RLIMIT_FSIZE, unlimited)
    streamer.say(3, b"c" * 30_000)

    files = streamer.files()
    assert len(files) == 1
    assert [output(files, task) for task in (1, 3)] == [b"a" * 1000, b"c" * 30_000]


def test_without_descriptors_tasks_fail_and_the_streamer_goes_on(streamer):
    streamer.say(1, b"one")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(streamer.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    number, pipes = streamer.open(2, mask=1)

    assert streamer.hear() == [(number, "the streamer has too many open files")]
    os.close(pipes[0])
    resource.prlimit(streamer.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    streamer.say(3, b"three")


def test_g5_5_while_nothing_is_read_the_pipe_fills_and_the_task_waits(streamer):
    streamer.say(1, b"connected")
    streamer.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, streamer.process.pid, os.WSTOPPED)
    number, pipes = streamer.open(2, mask=1)
    os.set_blocking(pipes[0], False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += os.write(pipes[0], b"x" * 4096)

    streamer.process.send_signal(signal.SIGCONT)
    os.close(pipes[0])

    assert streamer.hear() == [(number, "")]
    assert streamer.files().index.find(1, 2).sizes[0] == written == 65536
