import numpy as np
import pytest

from csm.audio.condition import condition
from csm.audio.tempo import TempoChanger, changed

RATE = 24_000
SPEEDS = (0.5, 0.8, 0.93, 1.25, 1.7, 2.0)


@pytest.fixture(scope="module")
def reader(speech):
    return condition(speech, 30.0).samples


def sine(hertz, seconds=2.0):
    return np.float32(0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE))


def pieces(samples, *sizes):
    """The samples in chunks of these sizes, in turns."""
    start = number = 0
    while start < len(samples):
        size = sizes[number % len(sizes)]
        yield samples[start : start + size]
        start, number = start + size, number + 1


def at_speed(samples, speed, *sizes):
    return np.concatenate(list(changed(pieces(samples, *sizes or (1920,)), speed)))


def pitch(samples):
    """Median fundamental of the voiced 40 ms frames, from the peak of their autocorrelation between 70 and 350 Hz."""
    found = []
    for start in range(0, len(samples) - 960, 480):
        frame = samples[start : start + 960].astype(np.float64)
        if np.sqrt(np.mean(frame**2)) < 0.05:
            continue
        correlation = np.correlate(frame, frame, "full")[959:]
        lag = 68 + int(np.argmax(correlation[68:343]))
        if correlation[lag] > 0.5 * correlation[0]:
            found.append(RATE / lag)
    return float(np.median(found))


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("count", [3, 359, 960, 1920, 72_001])
def test_the_length_is_exact(speed, count):
    assert len(at_speed(sine(220, 4.0)[:count], speed)) == round(count / speed)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("hertz", [90, 220, 240, 1000])
def test_a_tone_stays_what_it_is(speed, hertz):
    made = at_speed(sine(hertz), speed)[960:-960]
    spectrum = np.abs(np.fft.rfft(made * np.hanning(len(made)), 16 * RATE))
    assert np.argmax(spectrum) / 16 == pytest.approx(hertz, rel=2e-3)
    assert np.abs(made).max() == pytest.approx(0.3, rel=0.01), "windows fit onto each other"


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_voice_keeps_its_pitch(speed, reader):
    assert pitch(at_speed(reader, speed)) == pytest.approx(pitch(reader), rel=0.03)


def test_the_measure_of_pitch_would_find_a_tape_played_faster(reader):
    assert pitch(reader[::2]) == pytest.approx(2 * pitch(reader), rel=0.2)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("sizes", [(10**9,), (7, 1920, 100, 15_360), (1,)])
def test_chunks_make_no_difference(speed, sizes, reader):
    samples = reader[:30_000]
    np.testing.assert_array_equal(at_speed(samples, speed, *sizes), at_speed(samples, speed))


@pytest.mark.parametrize("speed", SPEEDS)
def test_nothing_clicks(speed, reader):
    """Slope is where a click shows; frames of both are compared, because one window may be louder than its origin."""
    made = at_speed(reader, speed)
    assert np.abs(np.diff(made)).max() <= 1.05 * np.abs(np.diff(reader)).max()
    assert np.abs(np.diff(at_speed(sine(100), speed)[:-960])).max() <= 1.05 * np.abs(np.diff(sine(100))).max()


@pytest.mark.parametrize("speed", SPEEDS)
def test_little_is_held_back(speed, reader):
    changer, made = TempoChanger(speed), 0
    assert changer.latency <= 0.05 * RATE
    for received, one in enumerate(pieces(reader[:24_000], 1), 1):
        made += len(changer.process(one))
        assert received - made * speed <= changer.latency + 1


@pytest.mark.parametrize("speed", SPEEDS)
def test_it_begins_at_once_and_ends_with_the_input(speed, reader):
    made = at_speed(reader, speed)
    np.testing.assert_allclose(made[:360], reader[:360], atol=1e-6)
    ends = np.zeros(RATE, np.float32)
    ends[-2400:] = sine(200, 0.1)
    tail = at_speed(ends, speed)
    assert np.abs(tail[-round(2400 / speed) :]).max() > 0.29 and np.abs(tail[: round(20_000 / speed)]).max() == 0


def test_at_speed_1_samples_pass_untouched(reader):
    chunks = list(pieces(reader, 1920))
    made = list(changed(chunks, 1.0))
    assert len(made) == len(chunks) and all(one is other for one, other in zip(made, chunks, strict=True))
    assert TempoChanger(1.0).latency == 0


@pytest.mark.parametrize("speed", SPEEDS)
def test_memory_does_not_grow_with_the_stream(speed):
    changer = TempoChanger(speed)
    for chunk in pieces(np.zeros(30 * RATE, np.float32), 1920):
        changer.process(chunk)
    assert len(changer._input) < 1920 + 2 * changer.latency


@pytest.mark.parametrize("speed", [0, 0.49, 2.01, float("nan"), -1])
def test_other_speeds_are_refused_with_the_range(speed):
    with pytest.raises(ValueError, match=r"0\.5 to 2 can be used"):
        TempoChanger(speed)


def test_nothing_in_nothing_out():
    assert list(changed([], 1.5)) == []


@pytest.mark.parametrize("speed", [1.0, 1.5])
def test_closing_it_closes_what_it_reads(speed):
    closed = []

    def source():
        try:
            while True:
                yield sine(220)
        finally:
            closed.append(True)

    kept = source()
    stream = changed(kept, speed)
    next(stream)
    stream.close()
    assert closed, "although somebody else holds it, so that Python would not"
