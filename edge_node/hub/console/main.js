// Events go into the reducer, its messages go out, the page is drawn, sound and microphone follow.

import { clean, forged, initial, mode, nodeOnShow, reduce } from "./call.js";
import { $, EventTail, setText, show } from "./dom.js";
import { prove } from "./key.js";
import { PeerLink, isSignal, offersNode } from "./peer.js";
import { Signalling } from "./signalling.js";
import { SimPanel } from "./sim.js";
import { Microphone, Sound } from "./sound.js";
import { Telemetry, degradedText } from "./telemetry.js";
import { View } from "./view.js";
import { LINK, tailLine } from "./words.js";

const CODE = "edge-node.code";
const NAME = "edge-node.name";
const STALL_MS = 4000;

const video = $("video");
const tail = new EventTail($("event-tail"));
const telemetry = new Telemetry($("nodes"));
const sound = new Sound(() => { apply(); redraw(); });
const microphone = new Microphone(sound, (mic) => dispatch({ type: "mic", mic }));
const view = new View({
	answer: () => dispatch({ type: "answer" }),
	decline: () => dispatch({ type: "decline" }),
	hangup: () => dispatch({ type: "hangup" }),
	call: () => shown && dispatch({ type: "start", peer: shown.peer, id: crypto.randomUUID?.() ?? nonce() }),
	mute: () => dispatch({ type: "mute", muted: !state.muted }),
	open: (door) => shown && open(shown, door),
	redraw: () => redraw(),
});

let state = initial();
let shown = null; // the node on the stage
let chosen = null; // the id of the one that stays there
let session = null;
let iceServers = [];
let sim = null;
let ringId = null;
let talkingTo = null; // peer id that has the microphone
let pictured = null; // id of the node whose picture that is
let frames = { count: 0, at: 0, stats: null };
const links = new Map(); // peer id -> PeerLink

function nonce() {
	return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

async function open({ peer, id, challenge }, door) {
	const request = { door, nonce: nonce(), at: Math.floor(Date.now() / 1000) };
	const proof = challenge ? await prove({ node: id, challenge, me: state.me, ...request }) : {};
	dispatch({ type: "open", peer, proof, ...request });
}

/** The key that a door's owner has to know. */
async function showKey() {
	const wanted = Object.values(state.nodes).some((node) => node.challenge);
	if (wanted) setText($("device-key"), (await prove()).key ?? "none, as only https pages can sign");
	show($("key-part"), wanted);
}

// The access code: from the link, kept for this tab

function takeCode() {
	const code = new URLSearchParams(location.hash.slice(1)).get("code");
	if (!code) return;
	sessionStorage.setItem(CODE, code);
	history.replaceState(null, "", location.pathname + location.search);
}

const code = () => sessionStorage.getItem(CODE) ?? "";
const selfName = () => localStorage.getItem(NAME) ?? "";

// State

function dispatch(event) {
	const now = Date.now();
	const before = state;
	const { state: next, send } = reduce(state, event, now);
	state = next;
	for (const { to, data } of send) {
		if (data.type !== "node.describe") tail.add(`${data.type} sent`, "self");
		signalling.send(to, data).catch(() => data.type === "node.describe" || dispatch({ type: "unsent", data }));
	}
	if (state !== before) {
		apply();
		redraw();
	}
}

function redraw() {
	const now = Date.now();
	const degraded = shown ? degradedText(telemetry.latest(shown.id)) : "";
	view.render(state, { node: shown, degraded, stats: frames.stats, soundReady: sound.ready, self: selfName() }, now);
}

/** Lets the world follow the state: sound, microphone, stage. */
function apply() {
	shown = nodeOnShow(state, chosen);
	if (state.call || !state.rings.length) chosen = shown?.id;
	showStream();
	const ringing = mode(state) === "ringing";
	sound.ring(ringing);
	const id = ringing ? state.rings[0].id : null;
	if (id !== ringId) {
		ringId = id;
		if (ringing) rang(state.rings[0]);
		else navigator.vibrate?.(0);
	}
	const peer = state.call?.peer ?? null;
	if (peer !== talkingTo) talk(peer);
	microphone.mute(state.muted);
	video.muted = state.call?.phase !== "active";
}

function rang(ring) {
	view.snapshot(video);
	navigator.vibrate?.([400, 200, 400, 1000, 400, 200, 400]);
	if (document.hidden && window.Notification?.permission === "granted") {
		try {
			const notification = new Notification(`${ring.name} is ringing`, { tag: "edge-node-ring", icon: "icon-ring.svg", requireInteraction: true });
			notification.onclick = () => window.focus();
		} catch {
			// some phones allow notifications to service workers only: the ring is still heard
		}
	}
}

/** Gives the microphone to the node in the call, takes it from any other. */
async function talk(peer) {
	const before = links.get(talkingTo);
	talkingTo = peer;
	await before?.setMic(null);
	if (!peer) microphone.close();
	else if (microphone.track) await links.get(peer)?.setMic(microphone.track); // the node came back under another id
	else if (await microphone.open()) await links.get(talkingTo)?.setMic(microphone.track);
}

function showStream() {
	const stream = shown && links.get(shown.peer)?.stream;
	const wanted = stream?.getTracks().length ? stream : null;
	if (video.srcObject === wanted || (!wanted && shown?.id === pictured)) return; // the last picture stays while its node is away
	pictured = shown?.id;
	video.srcObject = wanted;
	frames = { count: 0, at: Date.now(), stats: null };
	video.play().catch(() => {}); // autoplay refused: the first touch plays it
}

// The connection

const signalling = new Signalling({
	code,
	name: selfName,
	on: {
		link(name) {
			if (name === "denied") {
				setText($("connect-hint"), LINK.denied);
				ask(true);
			}
			dispatch({ type: "link", link: name });
		},
		welcome(frame, newSession) {
			session = newSession;
			iceServers = Array.isArray(frame.metadata?.iceServers) ? frame.metadata.iceServers.slice(0, 16) : [];
			if (state.me !== null && state.me !== frame.peerId) closeLinks();
			awaitingRoster = true;
			dispatch({ type: "welcome", me: frame.peerId });
			if (session.simulator && !sim) startSim();
		},
		frame(frame) {
			if (frame.type === "presence" && frame.channel === session.channel) presence(frame);
			else if (frame.type === "message") frame.channel === session.channel ? heard(frame.from, frame.data) : sampled(frame.from, frame.data);
			else if (frame.type === "direct") isSignal(frame.data) ? signal(frame.from, frame.data) : heard(frame.from, frame.data);
		},
	},
});
let awaitingRoster = false;

function presence({ joined, left }) {
	if (!Array.isArray(joined) || !Array.isArray(left)) return;
	const peers = joined.filter((p) => typeof p?.peerId === "string").map((p) => ({ peer: p.peerId, name: p.metadata?.name }));
	dispatch({ type: "presence", joined: peers, left: left.map((p) => p?.peerId), snapshot: awaitingRoster });
	awaitingRoster = false;
	for (const [peer, { pc }] of links) if (!(peer in state.people) && !(state.nodes[peer] && pc.remoteDescription)) closeLink(peer);
}

function heard(from, data) {
	const repeat = data?.type === "call.ring" && state.rings.some((r) => r.id === data.call);
	dispatch({ type: "heard", from, data });
	const line = clean(tailLine(state, from, data));
	if (line && !repeat) tail.add(line);
	if (data?.type === "node.description" && state.nodes[from]) {
		link(from);
		for (const peer of links.keys()) if (!state.nodes[peer]) closeLink(peer);
		showStream();
	}
}

function sampled(from, data) {
	const sample = forged(state, from, data?.node) ? null : telemetry.push(data, Date.now());
	if (!sample) return;
	if (!sample.late) dispatch({ type: "sample", node: sample.node, call: sample.callId });
	redraw();
}

// Media

function link(peer) {
	if (!links.has(peer)) {
		const made = new PeerLink({
			me: state.me,
			remote: peer,
			iceServers,
			send: (data) => signalling.send(peer, data),
			onStream: showStream,
		});
		links.set(peer, made);
		if (talkingTo === peer && microphone.track) made.setMic(microphone.track);
	}
	return links.get(peer);
}

function signal(peer, data) {
	if (links.has(peer) || offersNode(data)) link(peer).receive(data);
}

function closeLink(peer) {
	links.get(peer)?.close();
	links.delete(peer);
}

function closeLinks() {
	for (const peer of links.keys()) closeLink(peer);
}

async function measure() {
	const active = shown && links.get(shown.peer);
	if (!active) return;
	const stats = await active.stats();
	const now = Date.now();
	if (stats.frames !== frames.count) frames = { count: stats.frames, at: now, stats };
	else frames = { ...frames, stats };
	const picture = video.videoWidth === 0 ? "none" : now - frames.at > STALL_MS ? "stalled" : "live";
	dispatch({ type: "picture", picture });
}

// The person

/** The dialog asks for the access code too when there is none that works (`wanted`). */
function ask(wanted) {
	show($("code-label"), wanted);
	show($("connect-hint"), wanted);
	show($("notify"), !wanted && window.Notification?.permission === "default");
	$("code").disabled = !wanted;
	setText($("dialog-title"), wanted ? "Open the console" : "You");
	setText($("dialog-done"), wanted ? "Open" : "Save");
	$("name").value = selfName();
	showKey();
	if (!$("dialog").open) $("dialog").showModal();
}

$("dialog").addEventListener("cancel", (event) => $("code").disabled || event.preventDefault());
$("connect-form").addEventListener("submit", (event) => {
	event.preventDefault();
	$("dialog").close();
	const name = $("name").value.trim().slice(0, 40);
	const renamed = name !== selfName();
	localStorage.setItem(NAME, name);
	if (!$("code").disabled) {
		sessionStorage.setItem(CODE, $("code").value.trim());
		signalling.run();
	} else if (renamed && !state.call) signalling.restart(); // in a call it waits for the next connection
});
$("you").addEventListener("click", () => ask(false));
$("notify").addEventListener("click", async () => show($("notify"), (await Notification.requestPermission()) === "default"));
$("sound-on").addEventListener("click", () => sound.unlock());
video.addEventListener("resize", () => video.videoWidth && dispatch({ type: "picture", picture: "live" }));
window.addEventListener("pointerup", () => video.paused && video.srcObject && video.play().catch(() => {}));
window.addEventListener("hashchange", () => {
	takeCode();
	location.reload();
});

// A page that goes says so, as a closed tab looks to others like a bad network.
window.addEventListener("pagehide", () => {
	closeLinks();
	signalling.stop();
});
window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

function startSim() {
	document.documentElement.dataset.simulator = "true";
	show($("sim"), true);
	sim = new SimPanel($("sim"), { code, log: (line) => tail.add(line, "sim") });
	sim.run();
}

// Time

let ticks = 0;
setInterval(() => {
	ticks += 1;
	if (state.call?.phase === "active") view.meters(microphone.level(), frames.stats?.level ?? 0, state.muted);
	if (ticks % 5) return;
	dispatch({ type: "tick" });
	if (ticks % 10) return;
	measure();
	telemetry.render(Date.now());
	redraw();
}, 100);

for (const element of document.querySelectorAll("[id]")) element.dataset.testid = element.id; // the hooks of the tests
takeCode();
if (code()) signalling.run();
else ask(true);
apply();
redraw();
