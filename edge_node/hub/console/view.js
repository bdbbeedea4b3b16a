// Draws the state onto the page; draws nothing that did not change.

import { mode, nameOf } from "./call.js";
import { $, make, setAttr, setLevel, setText, show } from "./dom.js";
import { meterLevel } from "./sound.js";
import { clock, health, outcome, statusLine } from "./words.js";

const CONFIRM_FOR_MS = 5000;
const CONFIRM_GUARD_MS = 350; // a double tap is not a confirmation
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class View {
	/** act: {answer, decline, hangup, call, mute, open(door)} */
	constructor(act) {
		this.act = act;
		this.doors = null; // JSON of what the door buttons show
		this.confirming = null;
		this.blink = false;
		this.ringShown = null;
		for (const action of ["answer", "decline", "hangup", "call", "mute"]) {
			$(action === "call" ? "call-door" : action).addEventListener("click", () => act[action]());
		}
		window.addEventListener("keydown", (event) => this.key(event));
		setInterval(() => this.blinkTitle(), 800);
	}

	/** Enter answers, Escape declines or hangs up; keys that the focused element wants are left alone. */
	key(event) {
		if (event.repeat || event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
		const state = document.documentElement.dataset.state;
		const onControl = event.target.closest?.("button, input, a, summary, textarea, select");
		if (event.key === "Enter" && state === "ringing" && !onControl) {
			event.preventDefault();
			this.act.answer();
		} else if (event.key === "Escape") {
			if (this.confirming) this.confirm(null);
			else if (state === "ringing") this.act.decline();
			else if (state === "in-call") this.act.hangup();
		}
	}

	render(state, { node, degraded, stats, soundReady, self }, now) {
		const name = mode(state);
		setAttr(document.documentElement, "data-state", name);
		setAttr(document.documentElement, "data-phase", state.call?.phase ?? null);
		this.header(state, node, soundReady, self);
		const line = statusLine(state, node, now, degraded);
		setText($("status-line"), line.text);
		setAttr($("status-line"), "data-tone", line.tone);
		this.stage(state, stats, now);
		this.ringing(state, name);
		this.controls(state, name, node);
		this.lastRing(state);
	}

	header(state, node, soundReady, self) {
		this.title = node?.name ?? "Door";
		setText($("title"), this.title);
		const people = Object.keys(state.people).filter((peer) => !state.nodes[peer] && isPerson(peer, state));
		const others = people.map((peer) => nameOf(state, peer)).join(", ");
		setText($("who"), state.link.state !== "online" ? "" : others ? `Also here: ${others}` : "Only you are here");
		show($("sound-on"), !soundReady);
		setText($("you"), self || "You");
	}

	stage(state, stats, now) {
		const { picture, call } = state;
		show($("nopicture"), picture.state === "none");
		setAttr($("stage"), "data-picture", picture.state);
		show($("live"), picture.state === "live" && !call);
		show($("timer"), call?.phase === "active");
		if (call?.activeAt) setText($("timer"), clock(now - call.activeAt));
		const { level, text } = health(stats);
		show($("health"), Boolean(stats?.connected));
		setAttr($("health"), "data-level", level);
		setText($("health-text"), text);
		show($("meters"), call?.phase === "active");
	}

	meters(micDbfs, doorLevel, muted) {
		setLevel($("mic-level"), muted ? 0 : meterLevel(micDbfs), muted ? "muted" : micDbfs === null ? "no microphone" : micDbfs > -50 ? "heard" : "silent");
		setLevel($("door-level"), meterLevel(doorLevel ? 20 * Math.log10(doorLevel) : null), doorLevel > 0.003 ? "heard" : "silent");
	}

	ringing(state, name) {
		const ring = state.rings[0];
		const showing = Boolean(ring) && ["ringing", "in-call"].includes(name);
		show($("ring-banner"), showing);
		if (!showing) return;
		setText($("ring-name"), ring.name);
		setText($("ring-words"), name === "in-call" ? "is ringing too. Hang up to answer it." : "is ringing");
	}

	controls(state, name, node) {
		const focused = document.activeElement;
		const call = $("call-door");
		show($("answer"), name === "ringing");
		show($("decline"), name === "ringing");
		show(call, name !== "ringing" && name !== "in-call");
		show($("hangup"), name === "in-call");
		show($("mute"), name === "in-call" && state.mic === "on");
		setText(call, node ? `Call ${node.role === "door" ? "the door" : node.name}` : "Call the door");
		call.disabled = !node?.present || state.link.state !== "online";
		setText($("hangup"), state.call && state.call.phase !== "active" ? "Cancel" : "Hang up");
		setAttr($("mute"), "aria-pressed", state.muted);
		setText($("mute"), state.muted ? "Unmute" : "Mute");
		this.doorButtons(state, node);
		const rang = name === "ringing" && this.ringShown !== state.rings[0].id;
		this.ringShown = name === "ringing" ? state.rings[0].id : null;
		// The focus follows the control that replaces its own; a ring takes an idle focus.
		if ((focused !== document.body && focused?.closest(".controls") && focused.closest("[hidden]")) || (rang && document.activeElement === document.body)) {
			const next = { ringing: $("answer"), "in-call": $("hangup") }[name] ?? call;
			(next.disabled ? $("controls") : next).focus({ preventScroll: true });
		}
	}

	doorButtons(state, node) {
		const doors = node?.present && state.link.state === "online" ? node.doors : [];
		const waiting = state.door && state.door.ok === null ? state.door.door : null;
		if (node?.peer !== this.peer) this.confirming = null;
		this.peer = node?.peer;
		const key = JSON.stringify([node?.peer, doors, waiting, this.confirming]);
		if (key === this.doors) return;
		const hadFocus = $("doors").contains(document.activeElement);
		this.doors = key;
		$("doors").replaceChildren(...doors.map((door, index) => this.doorButton(door, index, doors.length, waiting)));
		if (hadFocus) ($("doors").querySelector("button") ?? $("controls")).focus({ preventScroll: true });
	}

	doorButton(door, index, count, waiting) {
		const what = count === 1 ? "door" : door;
		const suffix = index ? `-${door}` : "";
		if (waiting === door) return make("button", { type: "button", class: "big open", disabled: true }, "Opening…");
		if (this.confirming !== door) {
			return make("button", { type: "button", class: "big open", "data-testid": `open-door${suffix}`, onclick: () => this.confirm(door) }, `Open ${what}`);
		}
		const button = make("button", { type: "button", class: "big open sure", "data-testid": `open-door-confirm${suffix}`, disabled: true, onclick: () => { this.confirm(null); this.act.open(door); } }, `Press again to open ${what}`);
		setTimeout(() => { button.disabled = false; button.focus({ preventScroll: true }); }, CONFIRM_GUARD_MS);
		return button;
	}

	/** Arms the second press for a door, or disarms it (null). */
	confirm(door) {
		clearTimeout(this.confirmTimer);
		this.confirming = door;
		if (door !== null) this.confirmTimer = setTimeout(() => this.confirm(null), CONFIRM_FOR_MS);
		this.act.redraw();
	}

	lastRing(state) {
		const ring = state.lastRing;
		show($("lastring"), Boolean(ring));
		if (!ring) return;
		setText($("lastring-time"), new Date(ring.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
		setText($("lastring-words"), `${ring.name}, ${outcome(ring)}${ring.said ? `: “${ring.said}”` : ""}`);
	}

	/** Keeps the picture of this moment as that of the last ring; false while there is none. */
	snapshot(video) {
		const canvas = $("snapshot");
		const ok = video.videoWidth > 0;
		if (ok) canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
		show(canvas, ok);
		return ok;
	}

	blinkTitle() {
		const ringing = document.documentElement.dataset.state === "ringing";
		this.blink = ringing && (calm.matches || !this.blink);
		document.title = this.blink ? `Ringing: ${$("ring-name").textContent}` : (this.title ?? "Door");
		setAttr($("favicon"), "href", this.blink ? "icon-ring.svg" : "icon.svg");
	}
}

/** People have a name or a token of the hub's console. */
function isPerson(peer, state) {
	return state.people[peer] !== null || peer.startsWith("resident-");
}
