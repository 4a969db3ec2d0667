"use client";

import { type FormEvent, useState } from "react";
import { useVoiceClone } from "@/lib/use-voice-clone";
import type { components } from "@/lib/voice-server";
import { ReferenceInput } from "./reference-input";
import { SpeechOutput } from "./speech-output";

/** The fields of the server's form: a name that it does not have fails the build. */
type Field = keyof components["schemas"]["CloneForm"];

export function VoiceCloner() {
  const [reference, setReference] = useState<File>();
  const { state, start, stop } = useVoiceClone();
  const busy = state.phase === "waiting" || state.phase === "streaming";
  const playing = state.phase === "complete" && state.playing;

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (!reference) return;
    const form = new FormData(event.currentTarget);
    form.set("audio" satisfies Field, reference);
    void start(form);
  }

  return (
    <>
      <form onSubmit={submit}>
        <ReferenceInput reference={reference} onChange={setReference} />
        <label>
          What is said in the recording
          <textarea name={"transcript" satisfies Field} rows={2} aria-describedby="transcript-hint" />
        </label>
        <p id="transcript-hint" className="hint">
          Word for word, if you can: nothing improves the likeness more.
        </p>
        <label>
          Text to speak, in English
          <textarea name={"text" satisfies Field} rows={4} required />
        </label>
        <label className="check">
          <input type="checkbox" name={"consent" satisfies Field} value="true" required />
          The speaker has agreed that I clone this voice.
        </label>
        <div className="row">
          <button type="submit" disabled={busy || !reference}>
            Generate speech
          </button>
          {(busy || playing) && (
            <button type="button" onClick={stop}>
              {playing ? "Stop" : "Cancel"}
            </button>
          )}
          {!reference && <span className="hint">Record a voice or choose a file first.</span>}
        </div>
      </form>
      <SpeechOutput state={state} onReplay={stop} />
    </>
  );
}
