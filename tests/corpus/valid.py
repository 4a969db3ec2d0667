"""The same five seconds of speech in every form that people upload."""

from collections.abc import Callable
from functools import cache

from tests.corpus.case import OK, Case
from tests.corpus.ffmpeg import EXAMPLES, RECORDINGS, encode, piped, speech_wav

# Speech in the centre, as a microphone on a camera has it, and a hum in the low-frequency channel.
_SURROUND = "[0:a]pan=5.1|FC=c0[s];sine=50:r=48000:d=5,pan=5.1|LFE=c0[h];[s][h]amix=2:normalize=0"
_PICTURE = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=5")

_ENCODED: dict[str, tuple[str, tuple[str, ...]]] = {
    "wav-8k": (".wav", ("-ar", "8000")),
    "wav-44k1": (".wav", ("-ar", "44100")),
    "wav-96k": (".wav", ("-ar", "96000")),
    "wav-odd-rate": (".wav", ("-ar", "44101")),
    "wav-8-bit": (".wav", ("-c:a", "pcm_u8")),
    "wav-24-bit": (".wav", ("-c:a", "pcm_s24le")),
    "wav-32-bit": (".wav", ("-c:a", "pcm_s32le")),
    "wav-float": (".wav", ("-c:a", "pcm_f32le")),
    "wav-double": (".wav", ("-c:a", "pcm_f64le")),
    "wav-mu-law": (".wav", ("-ar", "8000", "-c:a", "pcm_mulaw")),
    "wav-a-law": (".wav", ("-ar", "8000", "-c:a", "pcm_alaw")),
    "wav-ms-adpcm": (".wav", ("-c:a", "adpcm_ms")),
    "wav-ima-adpcm": (".wav", ("-c:a", "adpcm_ima_wav")),
    "wav-stereo": (".wav", ("-ac", "2")),
    "wav-one-side-only": (".wav", ("-af", "pan=stereo|FL=c0")),
    "wav-5.1": (".wav", ("-filter_complex", _SURROUND)),
    "wav-rf64": (".wav", ("-rf64", "always")),
    "aiff": (".aiff", ()),
    "au": (".au", ()),
    "caf-pcm": (".caf", ("-c:a", "pcm_s16le")),
    "flac": (".flac", ()),
    "flac-24-bit-5.1": (".flac", ("-filter_complex", _SURROUND, "-sample_fmt", "s32")),
    "mp3": (".mp3", ("-b:a", "64k")),
    "mp3-vbr-stereo": (".mp3", ("-q:a", "4", "-ac", "2")),
    "mp3-cover-art": (".mp3", ("-i", "SOURCE", "-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=0.2", "-map", "0:a",
                               "-map", "1:v", "-c:v", "mjpeg", "-disposition:v", "attached_pic")),
    "ogg-vorbis": (".ogg", ("-c:a", "libvorbis")),
    "ogg-opus": (".opus", ("-c:a", "libopus", "-b:a", "32k")),
    "ogg-flac": (".oga", ("-c:a", "flac")),
    "webm-vorbis": (".webm", ("-c:a", "libvorbis")),
    "mka-pcm": (".mka", ("-c:a", "pcm_f32le")),
    "mkv-attachment": (".mkv", ("-i", "SOURCE", "-attach", "SOURCE", "-metadata:s:t", "mimetype=font/ttf",
                                "-metadata:s:t", "filename=../../etc/font.ttf", "-c:a", "libopus")),
    "m4a-index-last": (".m4a", ("-c:a", "aac", "-movflags", "-faststart")),
    "m4a-index-first": (".m4a", ("-c:a", "aac", "-movflags", "+faststart")),
    "mp4-fragmented": (".mp4", ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+default_base_moof")),
    "m4a-alac": (".m4a", ("-c:a", "alac")),
    "mp4-opus": (".mp4", ("-c:a", "libopus")),
    "mov-pcm": (".mov", ("-c:a", "pcm_s16be")),
    "aac-adts": (".aac", ("-c:a", "aac")),
    "3gp-amr": (".3gp", ("-ar", "8000", "-c:a", "libopencore_amrnb", "-b:a", "12.2k")),
    "mp4-video-and-sound": (".mp4", ("-i", "SOURCE", *_PICTURE, "-map", "1:v", "-map", "0:a", "-c:v", "mpeg4")),
    "mkv-two-tracks": (".mkv", ("-i", "SOURCE", "-f", "lavfi", "-i", "sine=d=5", "-map", "0", "-map", "1")),
}  # fmt: skip

_MADE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "wav-16-bit": ("voice.wav", speech_wav),
    "wav-piped": ("voice.wav", lambda: piped("-f", "wav")),
    "webm-live": ("blob.webm", lambda: piped("-c:a", "libopus", "-f", "webm", "-live", "1")),
    "mp4-piped": ("blob.mp4", lambda: piped("-c:a", "aac", "-f", "mp4", "-movflags", "frag_keyframe+empty_moov")),
    "chromium-webm": ("blob", (EXAMPLES / "voice.webm").read_bytes),
    "chromium-mp4": ("blob", (RECORDINGS / "chromium.mp4").read_bytes),
    "chromium-video": ("blob", (RECORDINGS / "chromium-video.webm").read_bytes),
    "no-extension": ("recording", speech_wav),
    "wrong-extension": ("voice.mp3", speech_wav),
}

NAMES = (*_ENCODED, *_MADE)


@cache
def valid() -> tuple[Case, ...]:
    """All forms; each is to be answered with speech."""
    encoded = [Case(n, encode(*o, suffix=s), "voice" + s, OK) for n, (s, o) in _ENCODED.items()]
    return (*encoded, *(Case(n, make(), filename, OK) for n, (filename, make) in _MADE.items()))
