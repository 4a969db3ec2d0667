// WAV files: 16-bit PCM, mono.

const HEADER_BYTES = 44;

/**
 * Read a WAV answer while it is generated.
 * @param {Response} answer
 * @returns {Promise<{sampleRate: number, chunks: AsyncGenerator<Int16Array>}>}
 */
export async function openWav(answer) {
  const reader = answer.body.getReader();
  let head = new Uint8Array(0);
  while (head.length < HEADER_BYTES) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer ended within its header.");
    head = concatenate(head, value);
  }
  const sampleRate = new DataView(head.buffer).getUint32(24, true);
  return { sampleRate, chunks: samplesOf(reader, head.slice(HEADER_BYTES)) };
}

/** Yield whole samples; a network packet may end within one. */
async function* samplesOf(reader, rest) {
  for (;;) {
    const even = rest.length & ~1;
    if (even) yield new Int16Array(rest.buffer.slice(rest.byteOffset, rest.byteOffset + even));
    const { value, done } = await reader.read();
    if (done) return;
    rest = concatenate(rest.slice(even), value);
  }
}

function concatenate(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/**
 * Return a WAV file with exact sizes, in which a player can seek.
 * @param {Int16Array[]} chunks
 * @param {number} sampleRate in Hz
 */
export function wavFile(chunks, sampleRate) {
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const text = (at, word) => [...word].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // size of the format chunk
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, 2 * sampleRate, true); // bytes per second
  header.setUint16(32, 2, true); // bytes per frame
  header.setUint16(34, 16, true); // bits per sample
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header, ...chunks], { type: "audio/wav" });
}

/** Return 16-bit samples as the floats that Web Audio uses. @param {Int16Array} pcm */
export function toFloat(pcm) {
  return Float32Array.from(pcm, (sample) => sample / 32768);
}

/** Return floats as 16-bit samples. @param {Float32Array} samples */
export function toPcm(samples) {
  return Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768))));
}
