// Measures a recording before it is sent, and says what to do about its faults.

export const SAMPLE_RATE = 24_000;

const SHORTEST_SECONDS = 1;
const SHORT_SECONDS = 5;
const QUIET_DB = -40;
const SILENT_DB = -60;
/** Share of samples in clipped peaks; see CLIPPED_SHARE in csm/audio/report.py. */
const CLIPPED_SHARE = 1.5e-4;
const FRAME_SECONDS = 0.05;

/**
 * Decode a file to mono.
 * @param {Blob} file
 * @returns {Promise<Float32Array | null>} samples at SAMPLE_RATE; null if this browser does not know the format
 */
export async function decode(file) {
  try {
    const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    const mono = new Float32Array(audio.length);
    for (let channel = 0; channel < audio.numberOfChannels; channel++) {
      audio.getChannelData(channel).forEach((sample, i) => (mono[i] += sample / audio.numberOfChannels));
    }
    return mono;
  } catch {
    return null;
  }
}

/**
 * @typedef {object} Measurement
 * @property {number} seconds
 * @property {number} levelDb mean level of the louder half of the frames, in dB relative to full scale
 * @property {number} clippedShare share of the samples in flat peaks
 */

/** @param {Float32Array} samples @returns {Measurement} */
export function measure(samples) {
  const length = Math.round(FRAME_SECONDS * SAMPLE_RATE);
  const powers = [];
  for (let at = 0; at + length <= samples.length; at += length) {
    powers.push(samples.subarray(at, at + length).reduce((sum, sample) => sum + sample * sample, 0) / length);
  }
  const louder = powers.sort((a, b) => b - a).slice(0, Math.ceil(powers.length / 2));
  const power = louder.reduce((sum, value) => sum + value, 0) / Math.max(1, louder.length);
  return {
    seconds: samples.length / SAMPLE_RATE,
    levelDb: 10 * Math.log10(Math.max(power, 1e-12)),
    clippedShare: clippedShare(samples),
  };
}

/** Return the share of samples in runs of three or more within 2 % of the largest magnitude. */
function clippedShare(samples) {
  const top = 0.98 * samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  let clipped = 0;
  let run = 0;
  for (const sample of samples) {
    const isNear = top > 0 && Math.abs(sample) >= top;
    if (!isNear && run >= 3) clipped += run;
    run = isNear ? run + 1 : 0;
  }
  return clipped / Math.max(1, samples.length);
}

/**
 * Return what is wrong with a recording and what to do, and whether it can be sent all the same.
 * @param {Measurement} measured
 * @param {number} maxSeconds that the server uses
 * @returns {{usable: boolean, advice: string[]}}
 */
export function judge({ seconds, levelDb, clippedShare }, maxSeconds) {
  if (seconds < SHORTEST_SECONDS) return refuse("This is shorter than a second. Record 5 to 15 seconds of speech.");
  if (levelDb < SILENT_DB) {
    return refuse("Nothing can be heard. Check that the right microphone is chosen and not muted, and record again.");
  }
  const advice = [];
  if (seconds < SHORT_SECONDS) advice.push("Short: with 5 to 15 seconds of speech, the likeness is closer.");
  if (seconds > maxSeconds) advice.push(`Long: only the first ${maxSeconds} seconds are used, up to a pause.`);
  if (levelDb < QUIET_DB) advice.push("Quiet: record closer to the microphone, or at a higher gain.");
  if (clippedShare > CLIPPED_SHARE) advice.push("Clipped: peaks are cut off. Record further away, or at a lower gain.");
  return { usable: true, advice };
}

function refuse(sentence) {
  return { usable: false, advice: [sentence] };
}
