// What the nodes say about themselves: an hour of samples, as cards with small charts.

import { make, makeSvg, setAttr, setText, show } from "./dom.js";
import { ago } from "./words.js";

const HOUR_MS = 3600e3;
const POINTS = 720;
const STALE_INTERVALS = 3;

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const word = (value) => (typeof value === "string" ? value.slice(0, 80) : null);
const words = (value) => (Array.isArray(value) ? value.slice(0, 8).map(word).filter(Boolean) : []);
const most = (values) => values.reduce((a, b) => (b === null ? a : a === null ? b : Math.max(a, b)), null);

/** What the page shows of a telemetry message; null when it is none. `now` in ms. */
export function digest(data, now) {
	if (data?.type !== "telemetry" || typeof data.node !== "string") return null;
	const { host, video, call, service } = data;
	const peers = Array.isArray(data.peers) ? data.peers.filter((p) => p && typeof p === "object") : [];
	return {
		node: data.node.slice(0, 80),
		at: (number(data.at) ?? now / 1000) * 1000,
		heardAt: now,
		late: data.late === true,
		intervalMs: (number(data.interval_s) ?? 0) * 1000,
		video: word(video?.state),
		encoder: word(video?.encoder) ?? word(video?.source),
		fps: number(video?.fps),
		kbps: number(video?.kbps),
		viewers: number(video?.viewers),
		limitedBy: word(video?.limited_by),
		call: word(call?.state),
		callId: word(call?.call),
		tempC: number(host?.soc_temp_c),
		cpu: number(host?.cpu_percent),
		throttled: words(host?.throttled),
		rttMs: most(peers.map((p) => number(p.rtt_ms))),
		loss: most(peers.map((p) => number(p.loss_percent))),
		degraded: words(service?.degraded),
	};
}

/** Three reports in a row did not come. */
export function isStale(samples, now) {
	const last = samples.findLast((s) => !s.late);
	return !last || now - last.heardAt > STALE_INTERVALS * (last.intervalMs || 10000) + 1000;
}

const DEGRADED = {
	camera: "The camera gives no picture", microphone: "The microphone is silent", speaker: "The speaker is off", panel: "The button does not work",
};

/** What is wrong at the node, in one sentence; "" when nothing is. */
export function degradedText(sample) {
	if (sample?.video === "private") return "Switched off there.";
	if (!sample?.degraded.length) return "";
	const [first] = sample.degraded;
	const [part, ...why] = first.split(/:\s*/);
	const head = DEGRADED[part] ?? `Not working: ${part}`;
	return `${head}${why.length ? ` (${why.join(": ").replace(/\.$/, "")})` : ""}. It comes back by itself once the cause is gone.`;
}

export class Telemetry {
	constructor(root) {
		this.root = root;
		this.nodes = new Map(); // id -> {samples, changedAt, card}
		this.empty = make("p", { class: "empty" }, "No node has reported yet. The first report takes a few seconds.");
		root.append(this.empty);
	}

	/** Takes a message of the telemetry channel; returns its digest or null. */
	push(data, now) {
		const sample = digest(data, now);
		if (!sample) return null;
		const entry = this.nodes.get(sample.node) ?? this.create(sample, now);
		const before = entry.samples[entry.samples.length - 1];
		entry.samples.push(sample);
		if (sample.late || (before && before.at > sample.at)) entry.samples.sort((a, b) => a.at - b.at);
		while (entry.samples.length > POINTS || entry.samples[0].at < sample.at - HOUR_MS) entry.samples.shift();
		if (!before || before.video !== sample.video || before.call !== sample.call) entry.changedAt = now;
		this.render(now);
		return sample;
	}

	latest(node) {
		return this.nodes.get(node)?.samples.findLast((s) => !s.late) ?? null;
	}

	create(sample, now) {
		if (this.nodes.size >= 64) {
			const [oldest, { card }] = this.nodes.entries().next().value;
			card.root.remove();
			this.nodes.delete(oldest);
		}
		const entry = { samples: [], changedAt: now, card: new Card(sample.node, this.nodes.size === 0) };
		this.nodes.set(sample.node, entry);
		this.root.append(entry.card.root);
		return entry;
	}

	render(now) {
		show(this.empty, this.nodes.size === 0);
		for (const { samples, changedAt, card } of this.nodes.values()) card.render(samples, changedAt, now);
	}
}

const FACTS = [
	["viewers", "Viewers", (s) => s.viewers],
	["temperature", "Heat", (s) => (s.tempC === null ? null : `${Math.round(s.tempC)} °C`)],
	["rtt", "Delay", (s) => (s.rttMs === null ? null : `${Math.round(s.rttMs)} ms`)],
	["loss", "Loss", (s) => (s.loss === null ? null : `${s.loss.toFixed(1)} %`)],
	["cpu", "CPU", (s) => (s.cpu === null ? null : `${Math.round(s.cpu)} %`)],
	["call", "Call", (s) => s.call],
	["encoder", "Encoder", (s) => s.encoder],
	["limit", "Limited by", (s) => s.limitedBy],
];

class Card {
	constructor(id, first) {
		const hook = (name) => (first ? { "data-testid": `telemetry-${name}` } : { "data-fact": name });
		this.state = make("span", { class: "pill", ...hook("state") });
		this.since = make("span", { class: "since" });
		this.fps = new Chart("Pictures per second", "fps", hook("fps"));
		this.kbps = new Chart("Bitrate in kbit/s", "kbit/s", hook("kbps"));
		this.facts = FACTS.map(([name, label, value]) => [make("dd", hook(name)), value, label]);
		this.warning = make("p", { class: "warning", hidden: true, ...hook("warning") });
		this.root = make("article", { class: "node", "data-node": id, "aria-label": id },
			make("header", {}, make("h3", {}, id), this.state, this.since),
			make("div", { class: "charts" }, this.fps.root, this.kbps.root),
			make("dl", {}, ...this.facts.map(([dd, , label]) => make("div", {}, make("dt", {}, label), dd))),
			this.warning);
	}

	render(samples, changedAt, now) {
		const last = samples.findLast((s) => !s.late) ?? samples[samples.length - 1];
		const stale = isStale(samples, now);
		const state = stale ? "silent" : (last.video ?? "unknown");
		setText(this.state, state.replaceAll("_", " "));
		setAttr(this.state, "data-tone", stale || last.degraded.length || last.throttled.length ? "bad" : "good");
		setText(this.since, stale ? `last heard ${ago(now - last.heardAt)}` : `since ${ago(now - changedAt).replace("just now", "now").replace(" ago", "")}`);
		this.fps.render(samples, (s) => s.fps, last.fps);
		this.kbps.render(samples, (s) => s.kbps, last.kbps);
		for (const [dd, value] of this.facts) setText(dd, String(value(last) ?? "–"));
		const wrong = [...last.degraded.map((d) => `Degraded: ${d}`), ...last.throttled.map((t) => `Throttled: ${t}`)];
		setText(this.warning, wrong.join(" · "));
		show(this.warning, wrong.length > 0);
	}
}

/** A number with the line of its last hour. */
class Chart {
	constructor(label, unit, hook) {
		this.value = make("strong", hook, "–");
		this.line = makeSvg("polyline", { class: "line", fill: "none", "vector-effect": "non-scaling-stroke" });
		this.area = makeSvg("polygon", { class: "area" });
		const svg = makeSvg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": `${label}, last hour` }, this.area, this.line);
		this.root = make("figure", {}, make("figcaption", {}, this.value, " ", make("span", {}, unit)), svg);
	}

	render(samples, pick, latest) {
		setText(this.value, latest === null ? "–" : String(Math.round(latest)));
		const points = chartPoints(samples.map((s) => [s.at, pick(s)]));
		const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
		setAttr(this.line, "points", line);
		setAttr(this.area, "points", points.length ? `${points[0][0].toFixed(1)},30 ${line} ${points[points.length - 1][0].toFixed(1)},30` : "");
	}
}

/** Points in a box of 100 x 30 from [time ms, value or null] pairs of at most an hour. */
export function chartPoints(pairs) {
	const known = pairs.filter(([, value]) => value !== null);
	if (known.length < 2) return [];
	const first = known[0][0];
	const span = Math.max(1, known[known.length - 1][0] - first);
	const top = Math.max(1, ...known.map(([, value]) => value)) * 1.1;
	return known.map(([at, value]) => [((at - first) / span) * 100, 29 - (value / top) * 27]);
}
