// Sentences, digests and charts: what the page makes of numbers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { jsonLines, simLine } from "./sim.js";
import { meterLevel } from "./sound.js";
import { chartPoints, degradedText, digest, isStale } from "./telemetry.js";
import { ago, clock, health, tailLine } from "./words.js";
import { initial } from "./call.js";
import { isSignal, offersNode } from "./peer.js";

test("times in words", () => {
  assert.deepEqual([0, 4999, 30000, 180000, 7200000].map(ago), ["just now", "5 seconds ago", "30 seconds ago", "3 minutes ago", "2 hours ago"]);
  assert.deepEqual([0, 65400, 3600000].map(clock), ["0:00", "1:05", "60:00"]);
});

test("health has a level and words", () => {
  const good = { connected: true, rttMs: 20, lossPercent: 0, fps: 30 };
  assert.equal(health(null).level, 0);
  assert.equal(health(good).level, 3);
  assert.equal(health({ ...good, lossPercent: 4 }).level, 2);
  assert.equal(health({ ...good, rttMs: 900 }).level, 1);
  assert.equal(health({ connected: true, rttMs: null, lossPercent: null, fps: null }).text, "Good connection: measuring");
});

const SAMPLE = {
  type: "telemetry", v: 1, node: "front", at: 100, seq: 1, uptime_s: 5, interval_s: 2, host: { soc_temp_c: 51, throttled: null }, video: { state: "live", fps: 29.9, kbps: 1800 },
  call: { state: "active", call: "c1" }, peers: [{ id: "a", rtt_ms: 3, loss_percent: 0 }, { id: "b", rtt_ms: 40, loss_percent: null }, null], service: { degraded: ["camera: unplugged: plug it in"] },
};

test("a sample is digested, whatever is missing or null", () => {
  const s = digest(SAMPLE, 5);
  assert.equal(s.fps, 29.9);
  assert.equal(s.rttMs, 40);
  assert.equal(s.loss, 0);
  assert.deepEqual(s.throttled, []);
  assert.equal(s.callId, "c1");
  assert.equal(degradedText(s), "The camera gives no picture (unplugged: plug it in). It comes back by itself once the cause is gone.");
  const bare = digest({ type: "telemetry", node: "n", host: null, video: { fps: "fast" } }, 5);
  assert.equal(bare.fps, null);
  assert.equal(bare.rttMs, null);
  assert.equal(degradedText(bare), "");
  assert.match(degradedText(digest({ ...SAMPLE, video: { state: "private" } }, 5)), /Switched off/);
  const many = digest({ ...SAMPLE, service: { degraded: Array(500).fill("x") }, host: { throttled: "x" }, call: 7 }, 5);
  assert.deepEqual([many.degraded.length, many.throttled, many.call], [8, [], null]);
  for (const other of [null, 3, {}, { type: "telemetry" }, { type: "x", node: "n" }]) assert.equal(digest(other, 5), null);
});

test("a node is stale after three intervals", () => {
  const samples = [digest(SAMPLE, 10000)];
  assert.equal(isStale(samples, 16000), false);
  assert.equal(isStale(samples, 17500), true);
  assert.equal(isStale([digest({ ...SAMPLE, late: true }, 10000)], 10000), true);
});

test("charts span what is known", () => {
  assert.deepEqual(chartPoints([[0, null], [1, 5]]), []);
  const points = chartPoints([[0, 0], [500, null], [1000, 10]]);
  assert.deepEqual(points.map(([x]) => x), [0, 100]);
  assert.ok(points.every(([, y]) => y >= 0 && y <= 30));
});

test("meters", () => {
  assert.deepEqual([null, -90, -60, -30, 0, 5].map(meterLevel), [0, 0, 0, 0.5, 1, 1]);
});

test("lines of the event tail", () => {
  const state = initial();
  assert.equal(simLine({ event: "press", button: "call", kind: "long" }), "press call (long)");
  assert.equal(simLine({ event: "relay", name: "door", on: true }), "relay door on");
  assert.equal(simLine({ event: "speaker", dbfs: -3 }), null);
  assert.equal(tailLine(state, "x", { type: "call.state", state: "ended", reason: "timeout" }), "call.state ended (timeout)");
  assert.equal(tailLine(state, "x", { type: "<b>" }), null);
  assert.equal(tailLine(state, "x", null), null);
});

test("JSON lines arrive in any pieces", async () => {
  const bytes = new TextEncoder().encode('{"a":1}\n\n{"b":"ü"}\n{"c":');
  const body = new ReadableStream({ start(c) { for (const b of bytes) c.enqueue(Uint8Array.of(b)); c.close(); } });
  const seen = [];
  for await (const value of jsonLines(body)) seen.push(value);
  assert.deepEqual(seen, [{ a: 1 }, { b: "ü" }]);
});

test("signals are told from messages, nodes from others", () => {
  const offer = (sdp) => ({ type: "rtc-description", description: { type: "offer", sdp } });
  assert.ok(isSignal({ type: "rtc-ice", candidate: null }) && isSignal({ __meteredTrackMeta: {} }));
  assert.ok(!isSignal({ type: "call.ring" }) && !isSignal(null));
  assert.ok(offersNode(offer("v=0\r\na=msid:node:front t\r\n")) && offersNode(offer("a=ssrc:7 msid:node:front t")));
  assert.ok(!offersNode(offer("a=msid:other t")) && !offersNode({ type: "rtc-description" }));
});
