// Runs in a page before its own scripts: keeps every answer, and every sample played through the Web Audio API.
window.answers = []; // promises of the bodies
window.heard = []; // Float32Arrays of 128 samples each
window.firstFrame = undefined; // of `heard`, counted from the start of the audio context
window.context = undefined; // the last audio context
window.closings = []; // frames that had left the device when a context was closed

const { fetch } = window;
window.fetch = async function (...request) {
  const response = await fetch(...request);
  const body = response.clone().arrayBuffer();
  body.catch(() => {}); // an aborted request
  window.answers.push(body);
  return response;
};

const tap = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage({ frame: currentFrame, samples: samples.slice() });
    return true;
  }
});`;

if (window.AudioWorklet) {
  const { addModule } = AudioWorklet.prototype;
  AudioWorklet.prototype.addModule = async function (address) {
    await addModule.call(this, URL.createObjectURL(new Blob([tap], { type: "text/javascript" })));
    return addModule.call(this, address);
  };

  const { connect } = AudioNode.prototype;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      window.context = this.context;
      const node = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
      node.port.onmessage = ({ data }) => {
        window.firstFrame ??= data.frame;
        window.heard.push(data.samples);
      };
      connect.call(this, node);
    }
    return connect.call(this, target, ...rest);
  };

  const { close } = AudioContext.prototype;
  AudioContext.prototype.close = function () {
    window.closings.push(this.getOutputTimestamp().contextTime * this.sampleRate);
    return close.call(this);
  };
}
