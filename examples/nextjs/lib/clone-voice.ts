import { PcmPlayer } from "./pcm-player";
import type { components } from "./voice-server";
import { readWav, wavFile } from "./wav";

/**
 * Speech that has arrived completely.
 *
 * `firstAudio` and `total` are in seconds since the form was sent; `warnings` are the server's, about the recording.
 */
export interface Speech {
  file: Blob;
  seconds: number;
  firstAudio: number;
  total: number;
  warnings: string | null;
}

/** Where a request is. `received` is in seconds of audio. */
export type Progress =
  | { phase: "waiting" }
  | { phase: "streaming"; firstAudio: number; received: number }
  | { phase: "complete"; speech: Speech; playing: boolean };

/**
 * Send the form and play the answer while it arrives.
 *
 * Call this in the handler of a click. Aborting the signal stops the request, the generation and the sound. Where the
 * browser has no AudioWorklet (plain HTTP), nothing is played, and the speech is reported once it is complete.
 *
 * @throws Error with the server's sentence if it refuses; TypeError if the connection breaks.
 */
export async function cloneVoice(form: FormData, signal: AbortSignal, report: (progress: Progress) => void) {
  const player = window.isSecureContext ? await PcmPlayer.open() : undefined;
  try {
    signal.throwIfAborted();
    signal.addEventListener("abort", () => player?.close());
    report({ phase: "waiting" });
    const speech = await receive(form, signal, player, report);
    if (player) {
      report({ phase: "complete", speech, playing: true });
      await player.finish();
    }
    report({ phase: "complete", speech, playing: false });
  } finally {
    player?.close();
  }
}

async function receive(
  form: FormData,
  signal: AbortSignal,
  player: PcmPlayer | undefined,
  report: (progress: Progress) => void,
): Promise<Speech> {
  const sent = performance.now();
  const elapsed = () => (performance.now() - sent) / 1000;
  const response = await fetch("/api/voice-clone", { method: "POST", body: form, signal });
  if (!response.ok || !response.body) throw new Error(await sentence(response));

  const chunks: Int16Array<ArrayBuffer>[] = [];
  let [firstAudio, received, rate] = [0, 0, 0];
  for await (const { samples, sampleRate } of readWav(response.body)) {
    rate = sampleRate;
    firstAudio ||= elapsed();
    received += samples.length / sampleRate;
    chunks.push(samples);
    player?.push(samples);
    report({ phase: "streaming", firstAudio, received });
  }
  if (!received) throw new Error("The server sent no audio. Try another text.");
  const warnings = response.headers.get("x-reference-warnings");
  return { file: wavFile(chunks, rate), seconds: received, firstAudio, total: elapsed(), warnings };
}

async function sentence(response: Response): Promise<string> {
  const problem: Partial<components["schemas"]["Problem"]> = await response.json().catch(() => ({}));
  return problem.error ?? `The server answered with status ${response.status}. Try again later.`;
}
