import { useObjectUrl } from "@/lib/use-object-url";
import type { CloneState } from "@/lib/use-voice-clone";

interface Props {
  state: CloneState;
  onReplay: () => void;
}

/** Shows where the request is, and the speech once it is complete. */
export function SpeechOutput({ state, onReplay }: Props) {
  const speech = state.phase === "complete" ? state.speech : undefined;
  const url = useObjectUrl(speech?.file);

  return (
    <section aria-label="Speech">
      <div>
        <p role="status">{describe(state)}</p>
        <p role="alert">{state.phase === "failed" && state.message}</p>
      </div>
      {state.phase === "streaming" && (
        <dl>
          <Figure name="First audio" value={`${state.firstAudio.toFixed(2)} s`} />
          <Figure name="Received" value={`${state.received.toFixed(1)} s`} />
        </dl>
      )}
      {speech && (
        <dl>
          <Figure name="First audio" value={`${speech.firstAudio.toFixed(2)} s`} />
          <Figure name="Total" value={`${speech.total.toFixed(2)} s`} />
          <Figure name="Length" value={`${speech.seconds.toFixed(2)} s`} />
          <Figure name="Speed" value={`${(speech.seconds / speech.total).toFixed(1)} × real time`} />
        </dl>
      )}
      {speech?.warnings && <p className="hint">About the recording: {speech.warnings}</p>}
      {url && (
        <div className="row">
          <audio controls src={url} onPlay={onReplay} aria-label="Speech" />
          <a href={url} download="voice-clone.wav">
            Download
          </a>
        </div>
      )}
    </section>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function describe(state: CloneState): string {
  switch (state.phase) {
    case "waiting":
      return "Waiting for the first audio …";
    case "streaming":
      return "The speech is being generated.";
    case "complete":
      return state.playing ? "The speech is complete and still playing." : "The speech is complete.";
    case "cancelled":
      return "Cancelled.";
    default:
      return "";
  }
}
