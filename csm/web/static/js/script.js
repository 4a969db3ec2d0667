// A script: turns of the speakers A and B.

const TURN = /^\s*([ab])\s*:\s*(.*)$/i;

/**
 * Return a script with one line a turn, and who speaks in it. A line without a name goes on with the turn before.
 * @param {string} text
 * @returns {{script: string, speakers: string[]}}
 * @throws {Error} with a sentence for the user
 */
export function parseScript(text) {
  /** @type {{speaker: string, words: string}[]} */
  const turns = [];
  for (const line of text.split("\n")) {
    const match = TURN.exec(line);
    if (match) turns.push({ speaker: match[1].toUpperCase(), words: match[2].trim() });
    else if (line.trim() && turns.length) turns.at(-1).words += ` ${line.trim()}`;
    else if (line.trim()) throw new Error("Begin the first line with A: or B:.");
  }
  const spoken = turns.filter(({ words }) => words.trim());
  if (!spoken.length) throw new Error("Write what they say. Begin each turn with A: or B:.");
  return {
    script: spoken.map(({ speaker, words }) => `${speaker}: ${words.trim()}`).join("\n"),
    speakers: [...new Set(spoken.map(({ speaker }) => speaker))].sort(),
  };
}
