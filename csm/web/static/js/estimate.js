// Estimates how long speech takes, and writes durations.

/** Of English read aloud at a usual pace. */
const CHARACTERS_PER_SECOND = 15;

/** Return the expected seconds of speech. @param {string} text @param {number} [speed] */
export function estimate(text, speed = 1) {
  return text.trim().length / CHARACTERS_PER_SECOND / speed;
}

/** Return a duration as people write it: "4.2 s", "2 min 5 s". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
