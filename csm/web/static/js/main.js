// Joins the parts of the page.

import { announce, byId, show } from "./dom.js";
import { Result } from "./result.js";
import { Server, ServerError } from "./server.js";
import { SpeechForm } from "./speech-form.js";
import { watchStatus } from "./status.js";
import { StoredVoices } from "./stored-voices.js";

const REDUCED = matchMedia("(prefers-reduced-motion: reduce)");
const RETRY_MILLISECONDS = 1_500;
/** The server's own sentence tells programs how to send a key. */
const REFUSED = "The server refused this key. Check that it is complete, or ask whoever runs the server.";

const server = new Server();
const voices = new StoredVoices(server);
const results = byId("results");
const limits = await reachable();
const form = new SpeechForm({ limits, voices, server });
/** @type {AbortController | null} */
let running = null;
/** @type {Result | null} */
let latest = null;

byId("key-form").onsubmit = (event) => {
  event.preventDefault();
  useKey();
};
form.form.onsubmit = (event) => {
  event.preventDefault();
  if (!running) speak();
};
byId("cancel").onclick = () => running?.abort();
// One at a time: what begins to play, or to record, ends what plays.
for (const type of ["play", "silence"]) addEventListener(type, ({ target }) => silence(target), true);
// A file that is dropped beside its place would replace the page.
for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.preventDefault());
if (limits.key_required) askForKey("");
watchStatus(server, () => {
  if (server.key || !limits.key_required) voices.refresh().catch(() => {}); // then there are none to choose from
});

/** End what plays. @param {EventTarget | null} except the element that begins */
function silence(except) {
  if (latest?.audio !== except) latest?.stop();
  for (const audio of document.querySelectorAll("audio")) if (audio !== except) audio.pause();
}

/** Return the server's limits once it answers. */
async function reachable() {
  for (;;) {
    try {
      return await server.limits();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
    }
  }
}

function askForKey(sentence) {
  byId("key-form").hidden = false;
  show(byId("key-error"), sentence);
  if (sentence) byId("key").select();
}

/** Take the key from its field. The list of voices shows at once whether the server accepts it. */
async function useKey() {
  server.key = byId("key").value.trim();
  try {
    await voices.refresh();
    announce("The server accepts this key.");
    for (const picker of Object.values(form.pickers)) picker.recording.consult();
  } catch (error) {
    if (error.status === 401) return askForKey(REFUSED);
  }
  // Whoever has gone on meanwhile is left where they are.
  const isWaiting = byId("key-form").contains(document.activeElement);
  byId("key-form").hidden = true;
  if (isWaiting) form.pickers.A.focus();
}

async function speak() {
  if (limits.key_required && !server.key) return askForKey("Enter the key first.");
  const request = form.compose();
  if (!request) return;
  silence(null);
  running = new AbortController();
  setBusy(true);
  const onrecognized = (words) => form.propose(request, words);
  latest = new Result(request, { server, needsKey: limits.key_required, onremove: update, onrecognized });
  results.prepend(latest.root);
  latest.root.scrollIntoView({ block: "nearest", behavior: REDUCED.matches ? "instant" : "smooth" });
  update();
  announce("Waiting for the first audio.");
  try {
    await latest.run(running.signal);
  } catch (error) {
    latest.root.remove();
    update();
    if (running.signal.aborted) announce("Cancelled.");
    else explain(error);
  } finally {
    running = null;
    setBusy(false);
  }
}

function explain(error) {
  if (error instanceof ServerError) {
    if (error.status === 401) askForKey(REFUSED);
    else form.explain(error);
  } else {
    console.error(error);
    show(byId("error"), "The answer ended before the first audio. Try again.");
  }
}

function setBusy(isBusy) {
  // Not `disabled`, which would take the keyboard's focus away.
  byId("speak").setAttribute("aria-disabled", String(isBusy));
  if (!isBusy && document.activeElement === byId("cancel")) byId("speak").focus();
  byId("cancel").hidden = !isBusy;
}

function update() {
  byId("no-results").hidden = results.childElementCount > 0;
}
