"""What the vendors' programs print about GPUs, and what is told of a node."""

from __future__ import annotations

import pytest

from hqtrio.errors import InputError
from hqtrio.model.load import DeviceLoad
from hqtrio.worker.loads import amd_loads, nvidia_loads


def test_nvidia_gpus_in_the_order_of_the_lines():
    text = "00000000:0F:00.0, 10 %, 100 MiB, 200 MiB\n00000000:01:00.0, 0 %, 0 MiB, 81559 MiB\n\n"
    assert nvidia_loads(text) == (
        DeviceLoad("00000000:0F:00.0", 10.0, 50.0),
        DeviceLoad("00000000:01:00.0", 0.0, 0.0),
    )


@pytest.mark.parametrize("word", ["[N/A]", "[Not Supported]"])
def test_what_an_nvidia_gpu_cannot_tell_counts_as_nothing(word):
    assert nvidia_loads(f"bus, {word}, {word}, {word}") == (DeviceLoad("bus", 0.0, 0.0),)


@pytest.mark.parametrize("use", ["GPU memory use (%)", "GPU Memory Allocated (VRAM%)"])
def test_amd_gpus_in_the_order_of_their_cards(use):
    text = (
        f'{{"card10": {{"PCI Bus": "b", "GPU use (%)": "1.5", "{use}": "12.5"}},'
        f' "card2": {{"GPU use (%)": 3, "{use}": "N/A"}}, "system": {{"x": "y"}}}}'
    )
    assert amd_loads(text) == (DeviceLoad("card2", 3.0, 0.0), DeviceLoad("b", 1.5, 12.5))


@pytest.mark.parametrize(
    "text",
    ["No devices were found", "a, b, 1, 2", "a, 1 %, 2 MiB", "a, nan, 1, 2", "a, -1 %, 1, 2"],
)
def test_other_words_of_nvidia_smi_are_refused(text):
    with pytest.raises(InputError):
        nvidia_loads(text)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "WARNING: no GPU", '{"card0": 5}', '{"card0": {}}', '{"card0": {"GPU use (%)": 1}}'],
)
def test_other_words_of_rocm_smi_are_refused(text):
    with pytest.raises(InputError):
        amd_loads(text)
