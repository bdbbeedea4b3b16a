// Every sentence the page says about its state, in one place. Pure.

import { mode, nameOf } from "./call.js";

const ENDED = {
	hangup: "The call has ended.",
	timeout: "Nobody answered at the door. Try again later.",
	limit: "The call has ended: it reached the longest time allowed. Call again to go on.",
	peer_left: "The call was lost: the door's network is gone. It comes back by itself; call again then.",
	busy: "The door is in another call. Try again in a moment.",
	declined: "The door declined the call.",
	cancelled: "The call was cancelled.",
};

const REFUSED = {
	"call.answer": "The door did not accept the answer",
	"call.start": "The door did not accept the call",
	"door.open": "The door stays closed",
};

// Reasons that need more than the node's own words.
const WHY = {
	"not allowed": "you may not open it. Ask the owner to add you to [door] allow.",
	"unknown door": "the node has no such door.",
	"signature required": "it wants a signed request. Open this page with https.",
	"unknown key": "it does not know this device. Its owner needs the key shown under your name.",
	"nonce already used": "the request was used before. Try again.",
};

function because(head, reason) {
	if (!reason) return `${head}. Try again.`;
	if (WHY[reason]) return `${head}: ${WHY[reason]}`;
	return `${head}: ${reason}${/[.!?]$/.test(reason) ? "" : "."}`;
}

export function noticeText(notice) {
	switch (notice.code) {
		case "elsewhere": return `${notice.who} answered.`;
		case "ended": return ENDED[notice.reason] ?? ENDED.hangup;
		case "rang-out": return notice.reason === "timeout" ? "Nobody answered in time." : "It stopped ringing.";
		case "refused": return because(REFUSED[notice.of] ?? "The door refused that", notice.reason);
		case "unconfirmed": return "The door did not confirm the answer. If it rings again, press Answer once more.";
		case "no-start": return "The door did not answer. Check that it is online, then try again.";
		case "door-open": return `Open: ${notice.door}.`;
		case "door-refused": return because(REFUSED["door.open"], notice.reason);
		case "door-silent": return "The door did not say whether it opened. Look at it, then try again.";
		default: return "That did not reach the door. Check the connection, then try again.";
	}
}

const GOOD = new Set(["door-open"]);
const CALM = new Set(["elsewhere", "ended", "rang-out"]);

const MIC = {
	asking: ["Allow the microphone so that the door can hear you.", "info"],
	refused: ["The door cannot hear you: the microphone is blocked. Allow it in the browser's address bar. You can still see, hear and open.", "bad"],
	missing: ["The door cannot hear you: this device has no microphone. Connect one and answer again. You can still see, hear and open.", "bad"],
	insecure: ["The door cannot hear you: browsers give the microphone only to https pages. Open this page with https, or on the hub itself as http://127.0.0.1.", "bad"],
};

export const LINK = {
	denied: "This access code is not valid. Use the link that edge-node printed, or type the code.",
	ended: "The hub closed this connection for good. Ask its owner, then reload the page.",
};

/** How long ago, in words. */
export function ago(ms) {
	const s = Math.max(0, Math.round(ms / 1000));
	if (s < 5) return "just now";
	if (s < 90) return `${s} seconds ago`;
	if (s < 5400) return `${Math.round(s / 60)} minutes ago`;
	return `${Math.round(s / 3600)} hours ago`;
}

/** "1:05" from milliseconds. */
export function clock(ms) {
	const s = Math.max(0, Math.floor(ms / 1000));
	return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

/** The line under the picture: {text, tone: good | info | bad}. `degraded`: what the node itself reports. */
export function statusLine(state, node, now, degraded = "") {
	const { link, notice, call, mic, picture } = state;
	if (LINK[link.state]) return { text: LINK[link.state], tone: "bad" };
	if (link.state === "offline") {
		const rest = call ? " The call goes on if the door is still in reach." : "";
		const head = state.me === null ? "The hub does not answer" : `The connection to the hub was lost ${ago(now - link.since)}`;
		return { text: `${head}. Trying again.${rest}`, tone: "bad" };
	}
	if (notice) return { text: noticeText(notice), tone: GOOD.has(notice.code) ? "good" : CALM.has(notice.code) ? "info" : "bad" };
	if (link.state === "connecting") return { text: "Connecting…", tone: "info" };
	if (call && call.lostAt !== null) return { text: `${call.name} lost its network ${ago(now - call.lostAt)}. Waiting for it.`, tone: "bad" };
	if (call && MIC[mic]) return { text: MIC[mic][0], tone: MIC[mic][1] };
	if (call?.phase === "answering") return { text: "Answering…", tone: "info" };
	if (call?.phase === "calling") return { text: call.rings ? `It rings at ${call.name}. Somebody has to press the button there.` : `Calling ${call.name}…`, tone: "info" };
	if (mode(state) === "ringing") return { text: `${state.rings[0].name} is ringing.`, tone: "info" };
	if (!node) return { text: "No door is here yet. It shows up by itself as soon as it is online.", tone: "info" };
	if (!node.present) return { text: `${node.name} lost its network ${ago(now - node.since)}. Trying again.`, tone: "bad" };
	if (degraded) return { text: degraded, tone: "bad" };
	if (picture.state === "stalled") return { text: `The picture stopped ${ago(now - picture.since)}. It comes back by itself.`, tone: "bad" };
	if (node.talk && !call) return { text: `${nameOf(state, node.talk.by, node.peer)} ${node.talk.state === "active" ? "is talking to" : "is calling"} the door.`, tone: "info" };
	if (picture.state === "none") return { text: "Waiting for the picture…", tone: "info" };
	if (call) return { text: state.muted ? "You are muted. The door cannot hear you." : "You are connected. Speak normally.", tone: state.muted ? "info" : "good" };
	return { text: "All quiet. You see the door live.", tone: "good" };
}

const OUTCOME = { ringing: "ringing now", missed: "nobody answered", declined: "declined", answered: "answered" };

/** What became of the last ring. */
export function outcome(ring) {
	if (ring.outcome === "answered" && ring.who) return ring.who === "You" ? "you answered" : `${ring.who} answered`;
	if (ring.outcome === "declined" && ring.who === "You") return "you declined";
	return OUTCOME[ring.outcome] ?? ring.outcome.replaceAll("_", " ");
}

/** Connection health from peer statistics: {level: 0..3, text}. */
export function health(stats) {
	if (!stats || !stats.connected) return { level: 0, text: "No connection to the door yet" };
	const facts = [];
	if (stats.rttMs !== null) facts.push(`${Math.round(stats.rttMs)} ms away`);
	if (stats.lossPercent !== null) facts.push(`${stats.lossPercent.toFixed(1)} % lost`);
	if (stats.fps !== null) facts.push(`${Math.round(stats.fps)} pictures/s`);
	const loss = stats.lossPercent ?? 0;
	const rtt = stats.rttMs ?? 0;
	const level = loss > 8 || rtt > 600 ? 1 : loss > 2 || rtt > 250 ? 2 : 3;
	return { level, text: `${["", "Poor", "Fair", "Good"][level]} connection: ${facts.join(", ") || "measuring"}` };
}

/** A line of the event tail for a message; null for what is not worth one. */
export function tailLine(state, from, data) {
	const who = nameOf(state, from);
	switch (data?.type) {
		case "call.ring": return `call.ring from ${who}`;
		case "call.state": return `call.state ${data.state}${data.by ? ` by ${nameOf(state, data.by)}` : ""}${data.reason ? ` (${data.reason})` : ""}`;
		case "call.hangup": return `call.hangup from ${who}`;
		case "door.result": return `door.result ${data.ok ? "ok" : `refused${data.reason ? ` (${data.reason})` : ""}`}`;
		case "node.description": return `node.description from ${who}`;
		case "error": return `error of ${data.of ?? "?"}${data.reason ? ` (${data.reason})` : ""}`;
		default: return typeof data?.type === "string" && /^[a-z0-9._-]{1,40}$/i.test(data.type) ? `${data.type} from ${who}` : null;
	}
}
