import threading

import numpy as np
import pytest
import torch

from csm.audio.watermark.detect import THRESHOLD, detect
from csm.audio.watermark.marker import Marker
from csm.audio.waveform import Waveform

SERVER = (1800, 1920, 3840, 7680, 15_360)


def chunks(samples, sizes):
    """Divide samples into chunks; the last size is repeated."""
    ends = np.cumsum([*sizes, *[sizes[-1]] * (len(samples) // sizes[-1])])
    return np.split(samples, ends[ends < len(samples)])


def marked(parts, perth):
    """Return the chunks of a stream with the mark."""
    marker = Marker(perth)
    return [marker.process(part) for part in parts]


@pytest.mark.parametrize("sizes", [SERVER, (1920,), (481,), (1, 2, 0, 5, 15_360), (10**6,)], ids=str)
def test_every_sample_is_kept_and_the_mark_is_found(perth, voice, sizes):
    speech = voice[: 3 * 24_000]
    made = marked(chunks(speech, sizes), perth)
    assert [len(one) for one in made] == [len(one) for one in chunks(speech, sizes)]
    copy = np.concatenate(made)
    assert copy.dtype == np.float32 and np.isfinite(copy).all()
    assert detect(Waveform(copy, 24_000), perth) > 0.95
    assert detect(Waveform(speech, 24_000), perth) < 0.2


def test_the_first_half_second_is_marked(perth, clips):
    for clip in clips:
        made = np.concatenate(marked(chunks(clip[:12_000], SERVER), perth))
        assert detect(Waveform(made, 24_000), perth) >= THRESHOLD


def test_the_mark_is_confined_to_low_frequencies_also_where_chunks_meet(perth, voice):
    change = np.concatenate(marked(chunks(voice, (1920,)), perth)) - voice
    power = np.square(np.abs(np.fft.rfft(change)))
    above = np.fft.rfftfreq(len(change), 1 / 24_000) > 3000
    # Steps at the borders of the chunks would have a flat spectrum.
    assert power[above].sum() < 2e-5 * power.sum()


def test_what_came_long_before_a_chunk_does_not_influence_it(perth, voice):
    first, last = voice[:36_000], voice[36_000:40_000]
    marker = Marker(perth)
    marker.process(first)
    made = marker.process(last)
    whole = perth.change(torch.from_numpy(voice[:40_000])).numpy()[36_000:]
    # The first 10 ms continue what was sent before.
    assert made[240:] - last[240:] == pytest.approx(whole[240:], abs=1e-5)


def test_digital_silence_stays_silent(perth, tone):
    made = marked([np.zeros(1920, np.float32)] * 5, perth)
    assert not np.concatenate(made).any()
    marker = Marker(perth)
    marker.process(tone)
    assert marker.process(np.zeros(4800, np.float32))[1920:] == pytest.approx(np.zeros(2880), abs=1e-6)


def test_streams_in_many_threads_do_not_disturb_each_other(perth, voice):
    parts, results = chunks(voice[:48_000], SERVER), {}
    alone = np.concatenate(marked(parts, perth))

    def run(index):
        results[index] = np.concatenate(marked(parts, perth))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[index] == alone).all() for index in range(6))


def test_the_number_of_threads_of_torch_is_as_before(perth, tone):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Marker(perth).process(tone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
