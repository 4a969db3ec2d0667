import { useSyncExternalStore } from "react";
import { useObjectUrl } from "@/lib/use-object-url";
import { MAX_SECONDS, useRecorder } from "@/lib/use-recorder";

interface Props {
  reference: File | undefined;
  onChange: (reference: File | undefined) => void;
}

/** Takes the reference audio: a recording of the microphone, or a file. */
export function ReferenceInput({ reference, onChange }: Props) {
  const recorder = useRecorder(onChange);
  const preview = useObjectUrl(reference);
  const hasMicrophone = useHasMicrophone();

  return (
    <fieldset>
      <legend>Voice</legend>
      <p>5 to 15 seconds of one person speaking clearly, without music or noise.</p>
      <div className="row">
        {recorder.recording ? (
          <button type="button" onClick={recorder.stop}>
            Stop recording
          </button>
        ) : (
          <button type="button" onClick={recorder.start} disabled={!hasMicrophone || recorder.asking}>
            Record
          </button>
        )}
        <label>
          or choose a file
          <input type="file" accept="audio/*,video/*" onChange={(event) => onChange(event.target.files?.[0])} />
        </label>
      </div>
      {recorder.recording && (
        <p className="recording">
          Recording: {recorder.seconds} of {MAX_SECONDS} s
        </p>
      )}
      {!hasMicrophone && (
        <p>
          Browsers allow the microphone, and sound while it arrives, only on HTTPS or localhost. Open this page at such an
          address, or choose a file.
        </p>
      )}
      <p role="alert">{recorder.error}</p>
      {preview && <audio controls src={preview} aria-label="Your recording" />}
    </fieldset>
  );
}

/** Return whether the browser offers microphones; on the server, assume so. */
function useHasMicrophone(): boolean {
  return useSyncExternalStore(
    () => () => {},
    () => Boolean(navigator.mediaDevices),
    () => true,
  );
}
