// The voices that are stored on the server, shared by all pickers.

/**
 * A stored voice; see `Voice` in csm/web/routes/voices.py.
 * @typedef {{id: string, name: string, shared: boolean, seconds: number, transcript: string,
 *   transcript_source: string, report: {warnings?: string[]}}} StoredVoice
 */

const PATH = "v1/audio/voices";
/** Kept with the voice, and shown by the API to whoever asks what was agreed to. */
const CONSENT = "Stated on the web page: the speaker has agreed to have this voice cloned.";

/** Sends the event `change` when the list has changed. */
export class StoredVoices extends EventTarget {
  /** @type {StoredVoice[]} */
  list = [];

  /** @param {import("./server.js").Server} server */
  constructor(server) {
    super();
    this.server = server;
  }

  /** @throws {import("./server.js").ServerError} such as that the key is wrong */
  async refresh() {
    this.list = (await (await this.server.get(PATH)).json()).data;
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Store a recording as a voice.
   * @param {string} name
   * @param {File} file
   * @param {string} transcript empty if the words are not known
   * @returns {Promise<StoredVoice>}
   */
  async save(name, file, transcript) {
    const form = new FormData();
    form.append("name", name);
    form.append("audio_sample", file);
    if (transcript) form.append("transcript", transcript);
    form.append("consent", CONSENT);
    const saved = await (await this.server.post(PATH, form)).json();
    await this.refresh();
    return saved;
  }

  /** @param {string} id */
  async delete(id) {
    await this.server.delete(`${PATH}/${id}`);
    await this.refresh();
  }

  /** Return the audio of a voice. @param {string} id @returns {Promise<Blob>} */
  async sample(id) {
    return (await this.server.get(`${PATH}/${id}/sample`)).blob();
  }
}
