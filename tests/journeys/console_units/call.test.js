// The reducer of the page, by example: no browser, no clock.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as call from "./call.js";
import { outcome, statusLine } from "./words.js";

const DOOR = "door-1";
const ME = "resident-me";
const ANNA = "resident-anna";
const DESCRIPTION = { type: "node.description", id: "front", name: "Front door", role: "door", doors: ["door"], buttons: ["call"] };

/** A page that has joined and knows the door. */
function page() {
  const world = { state: call.initial(), now: 1000, sent: [] };
  world.do = (event, after = 0) => {
    world.now += after;
    const { state, send } = call.reduce(world.state, event, world.now);
    world.state = state;
    world.sent.push(...send);
    return send;
  };
  world.hear = (data, from = DOOR, after = 0) => world.do({ type: "heard", from, data }, after);
  world.mode = () => call.mode(world.state);
  world.line = () => statusLine(world.state, call.nodeOnShow(world.state), world.now).text;
  world.do({ type: "welcome", me: ME });
  world.do({ type: "presence", joined: [{ peer: DOOR }, { peer: ANNA, name: "Anna" }], left: [], snapshot: true });
  world.hear(DESCRIPTION);
  world.sent.length = 0;
  return world;
}

const RING = { type: "call.ring", call: "c1", node: "front", name: "Front door", at: 1 };
const activeBy = (by, id = "c1") => ({ type: "call.state", call: id, state: "active", by, reason: "answered" });
const ended = (reason, id = "c1") => ({ type: "call.state", call: id, state: "ended", reason });

test("a page asks everybody who they are, and again, but not for ever", () => {
  const w = page();
  w.do({ type: "presence", joined: [{ peer: "new" }], left: [] });
  assert.deepEqual(w.sent, [{ to: "new", data: { type: "node.describe" } }]);
  for (let i = 0; i < 20; i += 1) w.do({ type: "tick" }, call.DESCRIBE_MS);
  assert.equal(w.sent.filter((s) => s.to === "new").length, 4);
  assert.equal(w.sent.filter((s) => s.to === DOOR).length, 0);
});

test("a ring rings until it is no longer repeated", () => {
  const w = page();
  w.hear(RING);
  assert.equal(w.mode(), "ringing");
  w.hear(RING, DOOR, 4000);
  w.do({ type: "tick" }, 4000);
  assert.equal(w.mode(), "ringing");
  w.do({ type: "tick" }, call.RING_STALE_MS);
  assert.equal(w.mode(), "idle");
  assert.equal(w.state.lastRing.outcome, "missed");
  w.hear(RING);
  assert.equal(w.mode(), "ringing", "a late repeat rings again: the node still wants us");
});

test("answer, talk, hang up", () => {
  const w = page();
  w.hear(RING);
  assert.deepEqual(w.do({ type: "answer" }), [{ to: DOOR, data: { type: "call.answer", call: "c1" } }]);
  assert.equal(w.state.call.phase, "answering");
  w.hear(activeBy(ME), DOOR, 50);
  assert.equal(w.state.call.phase, "active");
  assert.equal(w.state.call.activeAt, w.now);
  assert.equal(w.mode(), "in-call");
  assert.equal(outcome(w.state.lastRing), "you answered");
  w.hear(RING);
  assert.equal(w.state.rings.length, 0, "our own call does not ring again");
  assert.deepEqual(w.do({ type: "hangup" }), [{ to: DOOR, data: { type: "call.hangup", call: "c1" } }]);
  assert.equal(w.mode(), "idle");
  w.hear(ended("hangup"));
  assert.equal(w.mode(), "idle");
});

test("somebody else answers: ringing stops at once and says who", () => {
  const w = page();
  w.hear(RING);
  w.hear(activeBy(ANNA));
  assert.equal(w.mode(), "idle");
  assert.equal(w.line(), "Anna answered.");
  w.hear(RING);
  assert.equal(w.mode(), "idle", "a ring that crossed the answer is ignored");
  w.do({ type: "tick" }, 10000);
  assert.equal(w.line(), "Anna is talking to the door.");
  w.hear(ended("hangup"));
  assert.equal(w.state.nodes[DOOR].talk, null);
});

test("nobody answers: the voice agent talks, and what the visitor told it is shown", () => {
  const w = page();
  w.hear(RING);
  w.hear({ ...activeBy(DOOR), agent: true });
  assert.equal(w.mode(), "idle");
  assert.equal(w.line(), "The voice agent answered.");
  w.do({ type: "tick" }, 10000);
  assert.equal(w.line(), "The voice agent is talking to the door.");
  assert.equal(outcome(w.state.lastRing), "nobody answered");
  const message = { type: "agent.message", call: "c1", node: "front", text: "The post,\nwith a parcel." };
  w.hear(message, ANNA);
  w.hear({ ...DESCRIPTION, id: "shed" }, ANNA);
  w.hear(message, ANNA); // a node, but not the one that rang: the call's id is overheard easily
  w.hear({ ...message, call: "c0" });
  w.hear({ ...message, text: 5 });
  assert.equal(w.state.lastRing.said, undefined, "only the node, only of this ring");
  w.hear(message);
  assert.equal(w.state.lastRing.said, "The post, with a parcel.");
  assert.deepEqual(w.do({ type: "start", peer: DOOR, id: "x" }).map((s) => s.data.type), ["call.start"], "a person takes over");
});

test("two answer, the other was first", () => {
  const w = page();
  w.hear(RING);
  w.do({ type: "answer" });
  w.hear(activeBy(ANNA));
  assert.equal(w.state.call, null);
  assert.equal(w.line(), "Anna answered.");
});

test("decline is silent from then on", () => {
  const w = page();
  w.hear(RING);
  assert.deepEqual(w.do({ type: "decline" }), [{ to: DOOR, data: { type: "call.decline", call: "c1" } }]);
  w.hear(RING, DOOR, 2000);
  assert.equal(w.mode(), "idle");
  w.hear({ ...RING, call: "c2" });
  assert.equal(w.mode(), "ringing");
});

test("an answer without confirmation is given up, and a late one is let go", () => {
  const w = page();
  w.hear(RING);
  w.do({ type: "answer" });
  w.do({ type: "tick" }, call.CONFIRM_MS);
  assert.equal(w.state.call, null);
  assert.match(w.line(), /did not confirm/);
  assert.deepEqual(w.hear(activeBy(ME)), [{ to: DOOR, data: { type: "call.hangup", call: "c1" } }]);
});

test("calling the door: it rings there, then it talks, or it does not", () => {
  const w = page();
  assert.deepEqual(w.do({ type: "start", peer: DOOR, id: "c9" }), [{ to: DOOR, data: { type: "call.start", call: "c9" } }]);
  w.hear({ type: "call.state", call: "c9", state: "ringing", by: ME });
  w.do({ type: "tick" }, call.CONFIRM_MS * 2);
  assert.equal(w.state.call.phase, "calling", "the node ends a ring at its own side");
  w.hear(activeBy(ME, "c9"));
  assert.equal(w.state.call.phase, "active");
  w.hear({ type: "call.hangup", call: "c9" });
  assert.equal(w.mode(), "idle");
  w.do({ type: "start", peer: DOOR, id: "c10" });
  w.hear(ended("busy", "c10"));
  assert.match(w.line(), /in another call/);
  w.do({ type: "start", peer: DOOR, id: "c11" });
  w.do({ type: "tick" }, call.CONFIRM_MS);
  assert.match(w.line(), /did not answer/);
  w.do({ type: "start", peer: DOOR, id: "c12" });
  w.hear({ type: "error", of: "call.start", reason: "no" });
  assert.equal(w.state.call, null);
});

test("only the node that rang may end or confirm a call", () => {
  const w = page();
  w.hear(RING);
  w.hear(ended("cancelled"), ANNA);
  assert.equal(w.mode(), "ringing");
  w.do({ type: "answer" });
  w.hear({ type: "call.hangup", call: "c1" }, ANNA);
  w.hear({ type: "error", of: "call.answer", reason: "no" }, ANNA);
  assert.equal(w.state.call.phase, "answering");
});

test("the door opens on its own answer only, and silence is told", () => {
  const w = page();
  const open = { type: "open", peer: DOOR, door: "door", nonce: "n1", at: 7 };
  assert.deepEqual(w.do(open), [{ to: DOOR, data: { type: "door.open", door: "door", nonce: "n1", at: 7 } }]);
  assert.deepEqual(w.do({ ...open, nonce: "n2" }), [], "one request at a time");
  w.hear({ type: "door.result", nonce: "other", ok: true });
  assert.equal(w.state.door.ok, null);
  w.hear({ type: "door.result", nonce: "n1", ok: false, reason: "not allowed" });
  assert.match(w.line(), /stays closed: you may not open it/);
  w.hear(RING);
  assert.equal(w.do({ ...open, nonce: "n3" })[0].data.call, "c1");
  w.do({ type: "tick" }, call.DOOR_MS);
  assert.equal(w.state.notice.code, "door-silent");
  w.do({ ...open, nonce: "n4" });
  w.hear({ type: "door.result", nonce: "n4", ok: true });
  assert.equal(w.state.door.ok, true);
});

test("a door that wants signed requests says with what", () => {
  const w = page();
  assert.equal(w.state.nodes[DOOR].challenge, null);
  w.hear({ ...DESCRIPTION, challenge: "c0ffee" });
  assert.equal(w.state.nodes[DOOR].challenge, "c0ffee");
  const proof = { key: "aa", signature: "bb" };
  const [{ data }] = w.do({ type: "open", peer: DOOR, door: "door", nonce: "n1", at: 7, proof });
  assert.deepEqual(data, { type: "door.open", door: "door", nonce: "n1", at: 7, ...proof });
  w.hear({ type: "door.result", nonce: "n1", ok: false, reason: "unknown key" });
  assert.match(w.line(), /does not know this device/);
});

test("a node that loses its network keeps its call for a while, also under a new id", () => {
  const w = page();
  w.hear(RING);
  w.do({ type: "answer" });
  w.hear(activeBy(ME));
  w.do({ type: "presence", joined: [], left: [DOOR] });
  assert.match(w.line(), /lost its network/);
  w.do({ type: "presence", joined: [{ peer: "door-2" }], left: [] }, 3000);
  w.hear({ type: "node.description", id: "front", name: "Front door" }, "door-2");
  assert.equal(w.state.call.peer, "door-2");
  assert.deepEqual(Object.keys(w.state.nodes), ["door-2"]);
  w.do({ type: "presence", joined: [], left: ["door-2"] });
  w.do({ type: "tick" }, call.NODE_GRACE_MS);
  assert.equal(w.state.call, null);
  assert.match(w.line(), /call was lost/);
  assert.equal(call.nodeOnShow(w.state).present, false);
});

test("a call that ended while the page was away is found out from telemetry", () => {
  const w = page();
  w.hear(RING);
  w.do({ type: "answer" });
  w.hear(activeBy(ME));
  w.do({ type: "sample", node: "front", call: "c1" });
  w.do({ type: "sample", node: "front", call: null });
  assert.equal(w.mode(), "in-call", "one sample may be older than the call");
  w.do({ type: "sample", node: "front", call: null });
  assert.equal(w.mode(), "idle");
});

test("a lost connection is told, and a new identity starts afresh", () => {
  const w = page();
  w.hear(RING);
  w.do({ type: "answer" });
  w.hear(activeBy(ME));
  w.do({ type: "link", link: "offline" });
  assert.equal(w.mode(), "in-call");
  w.do({ type: "link", link: "offline" }, 3000);
  assert.match(w.line(), /lost just now/);
  w.do({ type: "welcome", me: ME });
  assert.equal(w.mode(), "in-call");
  w.do({ type: "welcome", me: "resident-other" });
  assert.equal(w.mode(), "idle");
  w.do({ type: "link", link: "denied" });
  assert.equal(w.mode(), "error");
});

test("what was not sent is told and undone", () => {
  const w = page();
  w.hear(RING);
  const [{ data }] = w.do({ type: "answer" });
  w.do({ type: "unsent", data });
  assert.equal(w.state.call, null);
  assert.match(w.line(), /did not reach the door/);
  const before = w.state;
  w.do({ type: "unsent", data: { type: "call.hangup" } });
  assert.equal(w.state, before);
});

test("strange messages change nothing", () => {
  const w = page();
  const before = JSON.stringify(w.state);
  const strange = [null, 7, "x", [], {}, { type: 3 }, { type: "constructor" }, { type: "__proto__" }, { type: "call.ring" }, { type: "call.ring", call: "" },
    { type: "call.state", call: {} }, { type: "call.state", call: "c0", state: "odd" }, { type: "node.description" }, { type: "door.result" }, { type: "call.hangup" }, { type: "porch.light", state: "on" }];
  for (const data of strange) w.hear(data);
  assert.equal(JSON.stringify(w.state), before);
  w.do({ type: "no such event" });
  assert.equal(JSON.stringify(w.state), before);
});

test("names from others are one clean line", () => {
  const w = page();
  w.hear({ type: "node.description", id: "front", name: `Gate\n\u202e${"x".repeat(300)}`, doors: ["a", 3, "b"] });
  const node = w.state.nodes[DOOR];
  assert.equal(node.name.length, 120);
  assert.doesNotMatch(node.name, /[\n\u202e]/);
  assert.deepEqual(node.doors, ["a", "b"]);
});

test("a second door that rings waits behind the first", () => {
  const w = page();
  w.do({ type: "presence", joined: [{ peer: "gate-1" }], left: [] });
  w.hear({ type: "node.description", id: "gate", name: "Gate", role: "door" }, "gate-1");
  w.hear(RING);
  w.hear({ ...RING, call: "c2", name: "Gate" }, "gate-1");
  assert.equal(call.nodeOnShow(w.state).id, "front");
  w.do({ type: "decline" });
  assert.equal(call.nodeOnShow(w.state).id, "gate");
});

// Strangers on the channel

const MALLORY = "a1b2-mallory";

/** A page on which a stranger is present, too; `as` is what it says it is. */
function crowd(as = null) {
  const w = page();
  w.do({ type: "presence", joined: [{ peer: MALLORY }], left: [] });
  if (as) w.hear({ type: "node.description", doors: [], ...as }, MALLORY);
  w.sent.length = 0;
  return w;
}

test("who overheard a ring cannot make it theirs", () => {
  const w = crowd({ id: "other", name: "Front door" });
  w.hear(RING);
  w.hear(RING, MALLORY, 100);
  assert.deepEqual(w.do({ type: "answer" }), [{ to: DOOR, data: { type: "call.answer", call: "c1" } }]);
  const again = page();
  again.hear(RING);
  again.do({ type: "presence", joined: [{ peer: "door-2" }], left: [DOOR] });
  again.hear(DESCRIPTION, "door-2");
  again.hear(RING, "door-2");
  assert.equal(again.do({ type: "answer" })[0].to, "door-2", "the same node under another id goes on");
});

test("who rings has to say first who it is, and rings under that name", () => {
  const w = crowd();
  assert.deepEqual(w.hear(RING, MALLORY, call.DESCRIBE_MS), [{ to: MALLORY, data: { type: "node.describe" } }]);
  assert.deepEqual(w.hear(RING, MALLORY, 1000), [], "it is not asked for each of its rings");
  assert.equal(w.mode(), "idle");
  w.hear({ type: "node.description", id: "shed", name: "Shed" }, MALLORY);
  w.hear(RING, MALLORY);
  assert.equal(w.line(), "Shed is ringing.");
});

test("one node rings once: it does not drive out the others", () => {
  const w = crowd({ id: "shed", name: "Shed" });
  for (let i = 0; i < 20; i += 1) w.hear({ ...RING, call: `m${i}` }, MALLORY);
  w.hear(RING);
  assert.deepEqual(w.state.rings.map((r) => r.id), ["m19", "c1"]);
});

test("the id of a device with a token is nobody else's", () => {
  const w = crowd({ id: "gate", name: "Gate" });
  w.do({ type: "presence", joined: [{ peer: "gate" }], left: [] });
  w.hear({ ...DESCRIPTION, id: "gate", name: "Gate" }, "gate");
  assert.equal(w.state.nodes[MALLORY], undefined, "who only said so before gives way");
  w.hear({ ...DESCRIPTION, id: "gate", name: "Gate!" }, MALLORY);
  assert.equal(w.state.nodes[MALLORY], undefined);
  w.hear({ ...RING, call: "c7" }, "gate");
  w.do({ type: "answer" });
  w.hear(activeBy(ME, "c7"), "gate");
  w.do({ type: "presence", joined: [], left: ["gate"] });
  w.hear({ ...DESCRIPTION, id: "gate" }, MALLORY);
  assert.equal(w.state.call.peer, "gate", "nor does it get the call, with the microphone");
  assert.ok(call.forged(w.state, MALLORY, "gate") && !call.forged(w.state, "gate", "gate") && !call.forged(w.state, DOOR, "front"));
});

test("refusals of those who are no nodes are not shown", () => {
  const w = crowd();
  const before = w.line();
  w.hear({ type: "error", of: "door.open", reason: "call 555-0100 at once" }, MALLORY);
  assert.equal(w.line(), before);
});

test("nodes that come and go are forgotten", () => {
  const w = page();
  for (let i = 0; i < 100; i += 1) {
    w.do({ type: "presence", joined: [{ peer: `p${i}` }], left: [] });
    w.hear({ type: "node.description", id: `n${i}` }, `p${i}`);
    w.do({ type: "presence", joined: [], left: [`p${i}`] });
  }
  assert.ok(Object.keys(w.state.nodes).length < 20);
  assert.equal(call.nodeOnShow(w.state).id, "front");
});
