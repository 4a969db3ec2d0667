// Reads a WAV file with the example's reader, in pieces of each size, and writes what it got as a WAV file again.
// Arguments: the module, the file, the sizes. Prints one line of JSON for each size.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [module, file, ...sizes] = process.argv.slice(2);
const { readWav, wavFile } = await import(pathToFileURL(module).href);
const content = new Uint8Array(await readFile(file));

for (const size of sizes.map(Number)) {
  const pieces = ReadableStream.from(
    (function* () {
      for (let start = 0; start < content.length; start += size) yield content.subarray(start, start + size);
    })(),
  );
  try {
    const chunks = [];
    for await (const chunk of readWav(pieces)) chunks.push(chunk);
    const written = wavFile(chunks.map(({ samples }) => samples), chunks[0].sampleRate);
    console.log(JSON.stringify({ wav: Buffer.from(await written.arrayBuffer()).toString("base64") }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
