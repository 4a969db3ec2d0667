import { VoiceCloner } from "@/components/voice-cloner";

export default function Page() {
  return (
    <main>
      <h1>Clone a voice</h1>
      <p>Record a few seconds of speech, write a text, and hear the text in that voice.</p>
      <VoiceCloner />
    </main>
  );
}
