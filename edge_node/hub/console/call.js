// The state of the page as one value: reduce(state, event, now) gives the next state plus the messages to send.
// Pure: no clock, no network, no page. Times are milliseconds; messages are those of contract.md section 4.

export const RING_STALE_MS = 6000; // a node repeats call.ring every 2 s: three missed means that it stopped
export const CONFIRM_MS = 8000; // how long call.answer or call.start waits for call.state
export const CALLING_MS = 180000; // how long the door may ring at its own side; the node ends it sooner
export const NODE_GRACE_MS = 15000; // a node that left may come back with its call
export const DOOR_MS = 6000; // how long door.open waits for door.result
export const DESCRIBE_MS = 2500; // pause between questions to a peer that has not described itself
const DESCRIBE_TRIES = 4;
const ABSENT_MAX = 16;
const NOTICE_MS = 6000;
const SETTLED_MAX = 50;

export function initial() {
	return {
		link: { state: "connecting", since: 0 },
		me: null,
		people: {}, // peer id -> name or null: everyone present
		asked: {}, // peer id -> {tries, at}: who was sent node.describe
		nodes: {}, // peer id -> description, present, since, talk
		rings: [], // calls that ring here, oldest first
		call: null, // the call this page takes part in: phase answering | calling | active
		settled: [], // ids of calls that need no more ringing
		door: null, // the last request: {peer, door, nonce, until, ok, reason}
		lastRing: null,
		notice: null,
		mic: "off", // off | asking | on | refused | insecure | missing
		muted: false,
		picture: { state: "none", since: 0 }, // none | live | stalled
	};
}

/** The page in one word: connecting | idle | ringing | in-call | error. */
export function mode(state) {
	if (state.link.state === "denied" || state.link.state === "ended") return "error";
	if (state.call) return "in-call";
	if (state.rings.length) return "ringing";
	return state.link.state === "online" ? "idle" : "connecting";
}

/** On show: the node in the call, else one that rings, else `chosen`, else the first (doors before others). */
export function nodeOnShow(state, chosen = null) {
	const wanted = state.call?.peer ?? state.rings[0]?.peer ?? null;
	if (wanted && state.nodes[wanted]) return state.nodes[wanted];
	const rank = (n) => (n.present ? 0 : 10) + (n.id === chosen ? 0 : n.role === "door" ? 1 : 2);
	return Object.values(state.nodes).sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1))[0] ?? null;
}

/** What to call a peer: its name, or a plain word; a node that answers itself has an agent. */
export function nameOf(state, peer, node) {
	if (peer && peer === state.me) return "You";
	if (node && peer === node) return "The voice agent";
	return state.nodes[peer]?.name ?? state.people[peer] ?? "Somebody";
}

const HANDLERS = { link, welcome, presence, heard, sample, unsent, mic, mute, picture, tick, answer, decline, hangup, start, open };

/** @returns {{state: object, send: {to: string, data: object}[]}} */
export function reduce(state, event, now) {
	const handler = HANDLERS[event.type];
	return handler ? { send: [], ...handler(state, event, now) } : { state, send: [] };
}

// The connection

function link(state, { link: name }, now) {
	return { state: state.link.state === name ? state : { ...state, link: { state: name, since: now } } };
}

function welcome(state, { me }, now) {
	const next = { ...state, me, link: { state: "online", since: now } };
	// A new identity: whoever knew the old one no longer does.
	return { state: state.me === null || state.me === me ? next : { ...next, call: null, rings: [] } };
}

/** `snapshot` true: the whole roster, after subscribing. */
function presence(state, { joined, left, snapshot = false }, now) {
	const people = snapshot ? {} : { ...state.people };
	for (const { peer, name } of joined) if (peer !== state.me) people[peer] = clean(name);
	for (const peer of left) delete people[peer];
	const nodes = {};
	for (const [peer, node] of Object.entries(state.nodes)) {
		const present = peer in people;
		nodes[peer] = present === node.present ? node : { ...node, present, since: now, talk: null };
	}
	let call = state.call;
	if (call) call = { ...call, lostAt: call.peer in people ? null : (call.lostAt ?? now) };
	const asked = snapshot ? {} : Object.fromEntries(Object.entries(state.asked).filter(([peer]) => peer in people));
	const strangers = joined.map((j) => j.peer).filter((peer) => peer !== state.me && !(peer in asked));
	return ask({ ...state, people, nodes, call, asked }, strangers, now);
}

function ask(state, peers, now) {
	const asked = { ...state.asked };
	for (const peer of peers) asked[peer] = { tries: (asked[peer]?.tries ?? 0) + 1, at: now };
	return { state: { ...state, asked }, send: peers.map((to) => ({ to, data: { type: "node.describe" } })) };
}

// What others say

const HEARD = {
	"node.description": description,
	"call.ring": ring,
	"call.state": callState,
	"call.hangup": remoteHangup,
	"door.result": doorResult,
	"agent.message": message,
	error: refused,
};

function heard(state, { from, data }, now) {
	if (typeof data !== "object" || data === null || !Object.hasOwn(HEARD, data.type)) return { state };
	return HEARD[data.type](state, from, data, now);
}

/** Somebody else has this id by a token, as enrolled devices have: `from` only says so. */
export function forged({ people, nodes }, from, id) {
	return id !== from && (id in people || id in nodes);
}

function description(state, from, data, now) {
	const id = clean(data.id);
	if (!id || forged(state, from, id)) return { state };
	const known = state.nodes[from];
	const node = {
		peer: from,
		id,
		name: clean(data.name) ?? id,
		role: clean(data.role) ?? "door",
		doors: names(data.doors),
		challenge: clean(data.challenge), // door.open must be signed with it
		present: true,
		since: known?.present ? known.since : now,
		talk: known?.talk ?? null,
	};
	const nodes = { [from]: node };
	// The same node under an older peer id has gone: a publishable key gives a new one on every connect.
	let absent = 0;
	for (const [peer, old] of Object.entries(state.nodes)) {
		const gone = old.id === id && (from === id || !(peer in state.people));
		if (peer !== from && !gone && (old.present || ++absent < ABSENT_MAX)) nodes[peer] = old;
	}
	let call = state.call;
	if (call && call.lostAt !== null && call.node === id) call = { ...call, peer: from, lostAt: null };
	const rings = state.rings.map((r) => (r.peer === from ? { ...r, name: node.name, node: id } : r));
	return { state: { ...state, nodes, call, rings } };
}

function ring(state, from, data, now) {
	const id = clean(data.call);
	if (!id || state.settled.includes(id) || state.call?.id === id) return { state };
	const node = state.nodes[from];
	if (!node) return ask(state, state.asked[from]?.at > now - DESCRIBE_MS ? [] : [from], now);
	const known = state.rings.find((r) => r.id === id);
	if (known && known.peer !== from && known.peer in state.people) return { state }; // overheard
	const entry = { id, peer: from, node: node.id, name: node.name, since: known?.since ?? now, heardAt: now };
	const others = state.rings.filter((r) => r.peer !== from); // a node has one call
	const rings = known ? state.rings.map((r) => (r.id === id ? entry : r)) : [...others, entry].slice(0, 8);
	const lastRing = known ? state.lastRing : { id, peer: from, name: entry.name, at: now, outcome: "ringing", who: null };
	return { state: { ...state, rings, lastRing } };
}

function callState(state, from, data, now) {
	const id = clean(data.call);
	const by = clean(data.by);
	if (!id) return { state };
	let next = state;
	const node = state.nodes[from];
	if (node) {
		const talk = data.state === "ended" || !by ? null : { call: id, by, state: data.state };
		next = { ...state, nodes: { ...state.nodes, [from]: { ...node, talk } } };
	}
	if (data.state === "active") return active(next, from, id, by, now);
	if (data.state === "ended") return ended(next, from, id, clean(data.reason), now);
	if (data.state === "ringing" && next.call?.id === id && next.call.peer === from) {
		next = { ...next, call: { ...next.call, rings: true, until: now + CALLING_MS } };
	}
	return { state: next };
}

function active(state, from, id, by, now) {
	const mine = state.call?.id === id && state.call.peer === from;
	if (by === state.me) {
		const call = { ...state.call, phase: "active", activeAt: state.call?.activeAt ?? now };
		if (mine) return { state: { ...settle(state, id, "answered", by), call } };
		// The confirmation came after this page gave up: let the door go.
		return { state, send: [say({ peer: from, id }, "call.hangup")] };
	}
	const rang = state.rings.some((r) => r.id === id && r.peer === from);
	if (!mine && !rang) return { state };
	const next = settle(mine ? { ...state, call: null } : state, id, by === from ? "missed" : "answered", by);
	return { state: note(next, "elsewhere", { who: nameOf(state, by, from) }, now) };
}

/** What a visitor told the voice agent of the node that rang. */
function message(state, from, data) {
	const { lastRing } = state;
	const said = clean(data.text);
	return { state: said && lastRing?.id === data.call && lastRing.peer === from ? { ...state, lastRing: { ...lastRing, said } } : state };
}

function ended(state, from, id, reason, now) {
	const ringing = state.rings.find((r) => r.id === id && r.peer === from);
	if (state.call?.id === id && state.call.peer === from) {
		return { state: note({ ...settle(state, id), call: null }, "ended", { reason: reason ?? "hangup" }, now) };
	}
	if (!ringing) return { state };
	const missed = reason === "timeout" || reason === "cancelled";
	return { state: note(settle(state, id, missed ? "missed" : (reason ?? "missed")), "rang-out", { reason }, now) };
}

function remoteHangup(state, from, data, now) {
	const id = clean(data.call);
	return id && state.call?.peer === from ? ended(state, from, id, "hangup", now) : { state };
}

function doorResult(state, from, data, now) {
	const door = state.door;
	if (!door || door.nonce !== data.nonce || door.peer !== from || door.ok !== null) return { state };
	const ok = data.ok === true;
	const reason = clean(data.reason);
	return { state: note({ ...state, door: { ...door, ok, reason } }, ok ? "door-open" : "door-refused", { door: door.door, reason }, now) };
}

function refused(state, from, data, now) {
	if (!state.nodes[from]) return { state };
	const of = clean(data.of) ?? "";
	const reason = clean(data.reason);
	let next = state;
	if (state.call?.peer === from && state.call.phase !== "active" && ["call.answer", "call.start"].includes(of)) {
		next = { ...settle(state, state.call.id), call: null };
	}
	if (of === "door.open" && state.door?.peer === from) next = { ...next, door: { ...state.door, ok: false, reason } };
	return { state: note(next, "refused", { of, reason }, now) };
}

// What the person does

function answer(state, _event, now) {
	const ringing = state.rings[0];
	if (!ringing || state.call) return { state };
	const call = engage(ringing.id, ringing.peer, ringing.node, ringing.name, "answering", now);
	const rings = state.rings.filter((r) => r.id !== ringing.id);
	return { state: { ...state, rings, call, notice: null, muted: false }, send: [say(ringing, "call.answer")] };
}

function decline(state) {
	const ringing = state.rings[0];
	if (!ringing || state.call) return { state };
	return { state: settle(state, ringing.id, "declined", state.me), send: [say(ringing, "call.decline")] };
}

function start(state, { peer, id }, now) {
	const node = state.nodes[peer];
	if (!node || state.call || state.rings.length) return { state };
	const call = engage(id, peer, node.id, node.name, "calling", now);
	return { state: { ...state, call, notice: null, muted: false }, send: [say(call, "call.start")] };
}

function say({ peer, id }, type) {
	return { to: peer, data: { type, call: id } };
}

function engage(id, peer, node, name, phase, now) {
	return { id, peer, node, name, phase, startedAt: now, activeAt: null, until: now + CONFIRM_MS, rings: false, lostAt: null, strange: 0 };
}

function hangup(state) {
	const { call } = state;
	if (!call) return { state };
	return { state: { ...settle(state, call.id), call: null }, send: [say(call, "call.hangup")] };
}

/** `proof` is {key, signature} for a node that wants them, else {}. */
function open(state, { peer, door, nonce, at, proof = {} }, now) {
	if (!state.nodes[peer] || (state.door && state.door.ok === null)) return { state };
	const engaged = [state.call, ...state.rings].find((c) => c?.peer === peer);
	const data = { type: "door.open", door, nonce, at, ...(engaged ? { call: engaged.id } : {}), ...proof };
	return { state: { ...state, door: { peer, door, nonce, until: now + DOOR_MS, ok: null, reason: null } }, send: [{ to: peer, data }] };
}

/** A message did not leave this page. */
function unsent(state, { data }, now) {
	if (!["call.answer", "call.start", "door.open"].includes(data.type)) return { state };
	let next = state;
	if (data.type === "door.open" && state.door?.nonce === data.nonce) next = { ...state, door: { ...state.door, ok: false } };
	else if (state.call?.id === data.call && state.call.phase !== "active") next = { ...state, call: null };
	return { state: note(next, "unsent", {}, now) };
}

/** A telemetry sample: twice another call than ours means that its end was missed. */
function sample(state, { node, call: id }, now) {
	const { call } = state;
	if (call?.phase !== "active" || call.node !== node) return { state };
	const strange = id === call.id ? 0 : call.strange + 1;
	if (strange < 2) return { state: strange === call.strange ? state : { ...state, call: { ...call, strange } } };
	return { state: note({ ...settle(state, call.id), call: null }, "ended", { reason: "hangup" }, now) };
}

function mic(state, { mic: name }) {
	return { state: { ...state, mic: name } };
}

function mute(state, { muted }) {
	return { state: { ...state, muted } };
}

function picture(state, { picture: name }, now) {
	return { state: state.picture.state === name ? state : { ...state, picture: { state: name, since: now } } };
}

// Time

function tick(state, _event, now) {
	let next = state;
	const fresh = state.rings.filter((r) => now - r.heardAt < RING_STALE_MS);
	if (fresh.length < state.rings.length) {
		const gone = state.rings.filter((r) => !fresh.includes(r)).map((r) => r.id);
		next = { ...next, rings: fresh, lastRing: gone.includes(state.lastRing?.id) ? { ...state.lastRing, outcome: "missed" } : state.lastRing };
	}
	const { call, door } = next;
	if (call && call.phase !== "active" && now >= call.until) {
		next = note({ ...settle(next, call.id), call: null }, call.phase === "calling" ? "no-start" : "unconfirmed", {}, now);
	} else if (call && call.lostAt !== null && next.link.state === "online" && now - call.lostAt >= NODE_GRACE_MS) {
		next = note({ ...settle(next, call.id), call: null }, "ended", { reason: "peer_left" }, now);
	}
	if (door && door.ok === null && now >= door.until) {
		next = note({ ...next, door: { ...door, ok: false } }, "door-silent", { door: door.door }, now);
	}
	if (next.notice && now >= next.notice.until) next = { ...next, notice: null };
	const again = Object.entries(next.asked)
		.filter(([peer, a]) => !next.nodes[peer]?.present && a.tries < DESCRIBE_TRIES && now - a.at >= DESCRIBE_MS)
		.map(([peer]) => peer);
	return next.link.state === "online" && again.length ? ask(next, again, now) : { state: next };
}

// Helpers

function settle(state, id, outcome = null, by = null) {
	const settled = state.settled.includes(id) ? state.settled : [...state.settled, id].slice(-SETTLED_MAX);
	const rings = state.rings.filter((r) => r.id !== id);
	let { lastRing } = state;
	if (outcome && lastRing?.id === id) lastRing = { ...lastRing, outcome, who: by ? nameOf(state, by) : null };
	return { ...state, settled, rings, lastRing };
}

function note(state, code, params, now) {
	return { ...state, notice: { code, ...params, until: now + NOTICE_MS } };
}

/** Text from others: one line of at most 120 printable characters, else null. */
export function clean(value) {
	if (typeof value !== "string") return null;
	const line = value.replace(/[\p{Cc}\p{Cf}]+/gu, " ").trim().slice(0, 120);
	return line || null;
}

function names(value) {
	return Array.isArray(value) ? value.map(clean).filter(Boolean).slice(0, 16) : [];
}
