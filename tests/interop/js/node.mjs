// The official JS SDK on Node:  node node.mjs FOLDER   (FOLDER holds node_modules with the pinned packages)
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Program, REPORT_EVERY_S, SIZE, frequencyHz } from "./program.mjs";

const load = createRequire(`${process.argv[2]}/package.json`);
const sdk = load("@metered-ca/realtime");
const WebSocket = load("ws");
const wrtc = load("@roamhq/wrtc");
const { RTCAudioSource, RTCAudioSink, RTCVideoSource, RTCVideoSink } = wrtc.nonstandard;

const RATE = 48000, BLOCK = RATE / 100; // the source takes 10 ms at a time

// Calls step(n) n = 0, 1, 2 … at `rate` per second, catching up after a late timer.
function paced(rate, step) {
  const began = performance.now();
  let n = 0;
  setInterval(() => {
    while (n < ((performance.now() - began) * rate) / 1000) step(n++);
  }, 5);
}

const media = {
  connection: (config) => new wrtc.RTCPeerConnection(config),
  codecs: (kind) => wrtc.RTCRtpSender.getCapabilities(kind).codecs,
  stream(id, track) {
    const stream = new wrtc.MediaStream({ id });
    stream.addTrack(track);
    return stream;
  },
  tone(hz) {
    const source = new RTCAudioSource();
    paced(RATE / BLOCK, (n) => {
      const samples = Int16Array.from({ length: BLOCK }, (_, i) => 8000 * Math.sin((2 * Math.PI * hz * (n * BLOCK + i)) / RATE));
      source.onData({ samples, sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: BLOCK });
    });
    return source.createTrack();
  },
  picture() {
    const source = new RTCVideoSource();
    paced(30, (n) => {
      const data = new Uint8ClampedArray(SIZE.width * SIZE.height * 1.5).fill(60 + (n % 120));
      source.onFrame({ ...SIZE, data });
    });
    return source.createTrack();
  },
  hear(track, report) {
    const sink = new RTCAudioSink(track);
    let heard = [];
    sink.ondata = ({ samples, sampleRate, channelCount }) => {
      for (let i = 0; i < samples.length; i += channelCount) heard.push(samples[i] / 32768);
      if (heard.length < REPORT_EVERY_S * sampleRate) return;
      report(frequencyHz(heard, sampleRate));
      heard = [];
    };
  },
  see(track, report) {
    const sink = new RTCVideoSink(track);
    let frames = 0, since = performance.now();
    sink.onframe = ({ frame }) => {
      frames++;
      const now = performance.now();
      if (now - since < REPORT_EVERY_S * 1000) return;
      report({ frames, width: frame.width, height: frame.height });
      frames = 0;
      since = now;
    };
  },
};

const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
// By default ws hands out all messages of one TCP read in one go. The SDK then drops the roster that comes right behind
// the answer to its subscribe; with one message per task, as in a browser, it does not.
const webSocketFactory = (url) => new WebSocket(url, { allowSynchronousEvents: false });
const program = new Program(sdk, media, say, { webSocketFactory });
const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const command = JSON.parse(line);
  await program.command(command);
  if (command.do === "quit") process.exit(0);
});
lines.on("close", () => process.exit(0));
say("ready", { codecs: media.codecs("video").map((c) => c.mimeType) });
