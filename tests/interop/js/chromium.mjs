// The official JS SDK in a page: window.say is the test's, window.command is for it.
import * as sdk from "/sdk/index.mjs";
import { Program, REPORT_EVERY_S, SIZE, frequencyHz } from "./program.mjs";

const audio = new AudioContext();

function played(track) {
  const element = document.createElement(track.kind);
  Object.assign(element, { autoplay: true, muted: true, srcObject: new MediaStream([track]) });
  document.body.append(element);
  return element;
}

const media = {
  connection: (config) => new RTCPeerConnection(config),
  codecs: (kind) => RTCRtpSender.getCapabilities(kind).codecs,
  stream: (id, track) => new MediaStream([track]), // a browser chooses the id itself
  tone(hz) {
    const oscillator = new OscillatorNode(audio, { frequency: hz });
    const quieter = new GainNode(audio, { gain: 0.25 });
    const out = audio.createMediaStreamDestination();
    oscillator.connect(quieter).connect(out);
    oscillator.start();
    audio.resume();
    return out.stream.getAudioTracks()[0];
  },
  picture() {
    const canvas = Object.assign(document.createElement("canvas"), SIZE);
    const context = canvas.getContext("2d");
    let n = 0;
    setInterval(() => {
      const grey = 60 + (n++ % 120);
      context.fillStyle = `rgb(${grey},${grey},${grey})`;
      context.fillRect(0, 0, SIZE.width, SIZE.height);
    }, 33);
    return canvas.captureStream(30).getVideoTracks()[0];
  },
  hear(track, report) {
    played(track); // Chromium decodes a remote track only where an element takes it
    const analyser = new AnalyserNode(audio, { fftSize: 16384 });
    audio.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    audio.resume();
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      if (track.readyState !== "live") return clearInterval(timer);
      analyser.getFloatTimeDomainData(samples);
      report(frequencyHz(samples, audio.sampleRate));
    }, REPORT_EVERY_S * 1000);
  },
  see(track, report) {
    const element = played(track);
    let frames = 0, since = performance.now();
    const frame = (now, { width, height }) => {
      frames++;
      if (now - since >= REPORT_EVERY_S * 1000) {
        report({ frames, width, height });
        frames = 0;
        since = now;
      }
      element.requestVideoFrameCallback(frame);
    };
    element.requestVideoFrameCallback(frame);
  },
};

const program = new Program(sdk, media, (event, fields = {}) => window.say({ event, ...fields }));
window.command = (command) => program.command(command);
window.say({ event: "ready", codecs: media.codecs("video").map((c) => c.mimeType) });
