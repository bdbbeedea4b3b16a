// The virtual panel of `simulate`: button, lights, relay of a node that is only software.

import { make, setAttr, setLevel, setText } from "./dom.js";
import { meterLevel } from "./sound.js";

const PRESSES = [["short", "Press"], ["long", "Hold"], ["double", "Twice"]];
const SWITCHES = [
	["camera", "Camera"],
	["wifi", "Wi-Fi"],
	["heat", "Heat", "warm"],
	["tone", "Microphone tone"],
];
const RETRY_MS = 1000;

/** Reads newline-delimited JSON from a fetch answer. */
export async function* jsonLines(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		const lines = (rest + value).split("\n");
		rest = lines.pop();
		for (const line of lines) {
			if (line.trim()) yield JSON.parse(line);
		}
	}
}

/** A line for the event tail; null for what is told otherwise. */
export function simLine(event) {
	const detail = Object.entries(event)
		.filter(([key, value]) => !["event", "at", "on"].includes(key) && ["string", "number", "boolean"].includes(typeof value))
		.map(([key, value]) => (["name", "button", "viewers"].includes(key) ? value : ["kind", "reason"].includes(key) ? `(${value})` : `${key} ${value}`));
	if ("on" in event) detail.push(event.on ? "on" : "off");
	return ["state", "speaker", "ring", "call", "world"].includes(event.event) ? null : [event.event, ...detail].join(" ");
}

export class SimPanel {
	constructor(root, { code, log }) {
		Object.assign(this, { root, code, log });
		this.leds = new Map();
		this.relays = new Map();
		this.switches = new Map();
		this.seen = new Map();
		this.now = {};
	}

	/** Follows the simulator for as long as the page lives. */
	async run() {
		for (;;) {
			try {
				const answer = await fetch("/sim/events", { headers: this.auth(), cache: "no-store" });
				if (!answer.ok) throw new Error(`sim ${answer.status}`);
				for await (const event of jsonLines(answer.body)) this.take(event);
			} catch {
				// the simulator's hub restarts at the press of a button
			}
			setAttr(this.root, "data-link", "lost");
			await new Promise((done) => setTimeout(done, RETRY_MS));
		}
	}

	auth() {
		return { Authorization: `Bearer ${this.code()}` };
	}

	async post(path, body) {
		try {
			const headers = { ...this.auth(), "Content-Type": "application/json" };
			const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
			if (!answer.ok) throw new Error(`status ${answer.status}`);
		} catch (error) {
			this.log(`The simulator did not take that (${error.message}). Wait for it to come back, then try again.`);
		}
	}

	take(event) {
		if (event.event === "state") this.build(event);
		else if (event.event === "led") this.led(event);
		else if (event.event === "relay") this.relay(event);
		else if (event.event === "speaker") this.speaker(event.dbfs);
		else if (event.event === "world") this.world(event);
		const line = simLine(event);
		// A blinking LED would fill the tail: only its pattern is news.
		const key = event.event === "led" ? `led ${event.name}` : null;
		if (!line || (key && this.seen.get(key) === event.pattern)) return;
		if (key) this.seen.set(key, event.pattern);
		this.log(key ? `led ${event.name} ${event.pattern ?? (event.on ? "on" : "off")}` : line);
	}

	build(state) {
		setAttr(this.root, "data-link", "up");
		this.leds.clear();
		this.relays.clear();
		this.switches.clear();
		const body = make("div", { class: "panel-body" },
			group("Button", (state.buttons ?? []).map((b) => this.makeButton(b.name ?? b))),
			group("Lights", (state.leds ?? []).map((led) => this.makeLight(led, this.leds, "sim-led", "light"))),
			group("Relay", (state.relays ?? []).map((relay) => this.makeLight(relay, this.relays, "sim-relay", "relay"))),
			group("Speaker", [this.makeSpeaker()]),
			group("World", [...SWITCHES.map((s) => this.makeSwitch(...s)), this.makeRestart()]));
		this.root.querySelector(".panel-body")?.remove();
		this.root.append(body);
		for (const led of state.leds ?? []) this.led(led);
		for (const relay of state.relays ?? []) this.relay(relay);
		this.world(state.world ?? {});
	}

	makeButton(button) {
		const keys = PRESSES.map(([kind, label]) => make("button", {
			type: "button",
			class: kind === "short" ? "push" : "quiet",
			"data-testid": kind === "short" ? `sim-press-${button}` : `sim-press-${button}-${kind}`,
			"aria-label": `${label} the ${button} button`,
			onclick: () => this.post("/sim/press", { button, kind }),
		}, kind === "short" ? button : label));
		return make("div", { class: "keys" }, ...keys);
	}

	makeLight({ name }, known, testid, kind) {
		const words = make("span", { class: "pattern" });
		const lamp = make("span", { class: "lamp", "aria-hidden": "true" });
		const row = make("div", { class: `row ${kind}`, "data-testid": `${testid}-${name}` }, lamp, make("span", { class: "label" }, name), words);
		known.set(name, { row, words });
		return row;
	}

	makeSpeaker() {
		this.meter = make("div", { class: "meter", role: "meter", "aria-label": "What the speaker plays", "data-testid": "speaker-level" });
		this.meterText = make("span", { class: "pattern" }, "silent");
		return make("div", { class: "row" }, this.meter, this.meterText);
	}

	makeSwitch(name, label, tint = "") {
		const input = make("input", { type: "checkbox", role: "switch", "data-testid": `sim-switch-${name}`, onchange: () => this.post("/sim/world", { [name]: input.checked }) });
		this.switches.set(name, input);
		return make("label", { class: `row switch ${tint}` }, make("span", { class: "label" }, label), input);
	}

	makeRestart() {
		this.hub = make("button", { type: "button", class: "quiet", "data-testid": "sim-switch-hub", onclick: () => this.post("/sim/world", { hub: false }) }, "Restart");
		return make("div", { class: "row switch" }, make("span", { class: "label" }, "Hub"), this.hub);
	}

	led({ name, on, pattern }) {
		const led = this.leds.get(name);
		if (!led) return;
		setAttr(led.row, "data-on", Boolean(on));
		setAttr(led.row, "data-pattern", pattern ?? null);
		setText(led.words, String(pattern ?? (on ? "on" : "off")).replaceAll("_", " "));
	}

	relay({ name, on }) {
		const relay = this.relays.get(name);
		if (!relay) return;
		setAttr(relay.row, "data-on", Boolean(on));
		setText(relay.words, on ? "pulled" : "released");
	}

	speaker(dbfs) {
		if (!this.meter) return;
		const level = typeof dbfs === "number" ? dbfs : -90;
		const words = level > -60 ? `${Math.round(level)} dB` : "silent";
		setLevel(this.meter, meterLevel(level), words);
		setAttr(this.meter, "data-dbfs", Math.round(level));
		setText(this.meterText, words);
	}

	world(world) {
		for (const [name, on] of Object.entries(world)) {
			if (name in this.now && this.now[name] !== on && typeof on === "boolean") this.log(`world ${name} ${on ? "on" : "off"}`);
			const input = this.switches.get(name);
			if (input) input.checked = on === true;
		}
		this.now = world;
		if (typeof world.hub === "boolean" && this.hub) this.hub.disabled = !world.hub;
	}
}

function group(title, children) {
	return make("section", { class: "group", hidden: children.length === 0 }, make("h3", {}, title), ...children);
}
