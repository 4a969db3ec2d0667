/** Audio as it arrives: signed 16-bit samples of one channel. */
export interface PcmChunk {
  samples: Int16Array<ArrayBuffer>;
  sampleRate: number;
}

const HEADER_BYTES = 44;

/**
 * Yield the samples of a WAV file while it is received.
 *
 * The sizes in the header are ignored: a server that streams does not know them, so the file ends where the body ends.
 */
export async function* readWav(body: ReadableStream<Uint8Array>): AsyncGenerator<PcmChunk> {
  const reader = body.getReader();
  let rest: Uint8Array = new Uint8Array();
  let sampleRate = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    let bytes = concatenate(rest, read.value);
    if (!sampleRate) {
      const header = parseHeader(bytes);
      if (!header) {
        rest = bytes;
        continue;
      }
      sampleRate = header.sampleRate;
      bytes = bytes.subarray(header.length);
    }
    // A chunk may end in the middle of a sample. Slicing copies, because an Int16Array needs an even offset.
    const whole = bytes.length - (bytes.length % 2);
    if (whole) yield { samples: new Int16Array(bytes.slice(0, whole).buffer), sampleRate };
    rest = bytes.slice(whole);
  }
}

/** Return a WAV file with exact sizes in its header, in which players can seek. */
export function wavFile(chunks: Int16Array<ArrayBuffer>[], sampleRate: number): Blob {
  const size = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const ascii = (offset: number, text: string) =>
    [...text].forEach((character, index) => header.setUint8(offset + index, character.charCodeAt(0)));
  ascii(0, "RIFF");
  header.setUint32(4, HEADER_BYTES - 8 + size, true);
  ascii(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // bytes of the format
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, 2 * sampleRate, true); // bytes per second
  header.setUint16(32, 2, true); // bytes per sample
  header.setUint16(34, 16, true); // bits per sample
  ascii(36, "data");
  header.setUint32(40, size, true);
  return new Blob([header, ...chunks], { type: "audio/wav" });
}

/** Return the sample rate and the length of the header, or null if it is not complete yet. */
function parseHeader(bytes: Uint8Array): { sampleRate: number; length: number } | null {
  if (bytes.length < 12) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const name = (offset: number) => String.fromCharCode(...bytes.subarray(offset, offset + 4));
  if (name(0) !== "RIFF" || name(8) !== "WAVE") throw new Error("The answer is not a WAV file.");
  let sampleRate = 0;
  for (let offset = 12; offset + 8 <= bytes.length; ) {
    if (name(offset) === "data") return { sampleRate, length: offset + 8 };
    if (name(offset) === "fmt ") {
      if (offset + 24 > bytes.length) return null;
      const [encoding, channels, bits] = [8, 10, 22].map((field) => view.getUint16(offset + field, true));
      if (encoding !== 1 || channels !== 1 || bits !== 16) throw new Error("The answer is not 16-bit mono PCM.");
      sampleRate = view.getUint32(offset + 12, true);
    }
    const size = view.getUint32(offset + 4, true);
    offset += 8 + size + (size % 2);
  }
  return null;
}

function concatenate(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (!first.length) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
