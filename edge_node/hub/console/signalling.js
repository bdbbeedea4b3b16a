// A session from the access code, then the wire protocol over one WebSocket that comes back by itself. Tokens live
// in this module's memory only.

const BACKOFF_MS = { first: 500, most: 10000 };
const OPEN_MS = 10000; // the hub says welcome within this
const ACK_MS = 15000;
const QUIET_MS = 60000; // no text frame for this long: the socket is dead
const PING_MS = 20000;
const CROWDED_MS = 30000; // after close code 4010
const FINAL = new Set([4012, 4020]); // suspended, disconnected by the owner
const NEW_TOKEN = new Set([4001, 4002, 4003]);

const jitter = (ms) => ms * (0.8 + 0.4 * Math.random());
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Denied extends Error {}

/** One socket from open to close; requests are matched with their ack. */
class Socket {
	constructor(url, onFrame, onClose) {
		this.pending = new Map();
		this.counter = 0;
		this.heardAt = performance.now();
		this.ws = new WebSocket(url);
		this.ws.onmessage = ({ data }) => {
			this.heardAt = performance.now();
			const frame = parse(data);
			if (frame?.type === "ack") this.settle(frame.requestId);
			else if (frame?.type === "error" && frame.requestId) this.settle(frame.requestId, new Error(frame.code));
			else if (frame) onFrame(frame);
		};
		this.ws.onclose = ({ code }) => this.closed(code, onClose);
		this.watch = setInterval(() => this.keepAlive(), 5000);
	}

	keepAlive() {
		const quiet = performance.now() - this.heardAt;
		if (quiet > QUIET_MS) this.ws.close(4000);
		else if (quiet > PING_MS && this.ws.readyState === WebSocket.OPEN) this.ws.send('{"type":"ping"}');
	}

	closed(code, onClose) {
		clearInterval(this.watch);
		for (const id of [...this.pending.keys()]) this.settle(id, new Error("closed"));
		onClose(code);
	}

	settle(id, error = null) {
		const waiting = this.pending.get(id);
		if (!waiting) return;
		this.pending.delete(id);
		clearTimeout(waiting.timer);
		if (error) waiting.reject(error);
		else waiting.resolve();
	}

	request(frame) {
		return new Promise((resolve, reject) => {
			if (this.ws.readyState !== WebSocket.OPEN) {
				reject(new Error("offline"));
				return;
			}
			const requestId = `c${++this.counter}`;
			const timer = setTimeout(() => this.settle(requestId, new Error("timeout")), ACK_MS);
			this.pending.set(requestId, { resolve, reject, timer });
			this.ws.send(JSON.stringify({ ...frame, requestId }));
		});
	}

	close() {
		this.ws.close(1000);
	}
}

function parse(text) {
	try {
		const frame = JSON.parse(text);
		return frame && typeof frame.type === "string" ? frame : null;
	} catch {
		return null; // a frame that is no JSON is skipped, as the protocol asks
	}
}

// on.link(connecting | offline | denied: the code is wrong | ended: the hub wants no reconnect), on.welcome(frame,
// session), on.frame(a message, direct or presence).
export class Signalling {
	constructor({ code, name, on }) {
		Object.assign(this, { code, name, on });
		this.session = null;
		this.socket = null;
		this.failures = 0;
		this.running = false;
		this.wake = () => {};
		this.renewTimer = 0;
		this.retryAfterMs = 0;
		for (const event of ["online", "pageshow"]) window.addEventListener(event, () => this.wake());
		document.addEventListener("visibilitychange", () => document.hidden || this.wake());
	}

	/** Connects and stays connected until stop(). */
	async run() {
		this.running = true;
		this.on.link("connecting");
		while (this.running) {
			try {
				const code = await this.connectOnce();
				if (FINAL.has(code)) return this.finish("ended");
				if (NEW_TOKEN.has(code)) this.session = null;
				if (code === 4010) this.retryAfterMs = CROWDED_MS;
			} catch (error) {
				if (error instanceof Denied) return this.finish("denied");
			}
			if (!this.running) return;
			this.on.link("offline");
			await this.pause();
		}
	}

	finish(state) {
		this.running = false;
		this.on.link(state);
	}

	async pause() {
		const wait = Math.max(this.retryAfterMs, Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(this.failures, 10)));
		this.retryAfterMs = 0;
		this.failures += 1;
		await Promise.race([sleep(jitter(wait)), new Promise((now) => (this.wake = now))]);
		this.wake = () => {};
	}

	stop() {
		this.running = false;
		clearTimeout(this.renewTimer);
		this.socket?.close();
		this.wake();
	}

	/** A new session at once, for a new name. */
	restart() {
		this.session = null;
		this.retryAfterMs = 1;
		this.failures = 0;
		this.socket?.close();
		this.wake();
	}

	/** Resolves with the close code once this connection is over. */
	async connectOnce() {
		if (!this.session || this.session.endsAt < performance.now() + 10000) this.session = await this.newSession();
		return new Promise((over) => this.openSocket(this.session, over));
	}

	async newSession(renew = null) {
		const body = { code: this.code(), ...(this.name() ? { name: this.name() } : {}), ...(renew ? { renew } : {}) };
		const answer = await fetch("/console/session", {
			method: "POST",
			headers: { "Content-Type": "application/json" },
			body: JSON.stringify(body),
			signal: AbortSignal.timeout(OPEN_MS),
		});
		if ([400, 401, 403].includes(answer.status)) throw new Denied("code");
		if (answer.status === 429) this.retryAfterMs = CROWDED_MS;
		if (!answer.ok) throw new Error(`session ${answer.status}`);
		const session = await answer.json();
		return { ...session, endsAt: performance.now() + (session.expires_at - Date.now() / 1000) * 1000 };
	}

	openSocket(session, over) {
		const url = new URL(session.ws_path ?? "/v1", location.href);
		url.protocol = url.protocol.replace("http", "ws");
		url.search = new URLSearchParams({ token: session.token });
		let welcomed = false;
		const socket = new Socket(
			url.href,
			(frame) => {
				if (frame.type === "welcome" && !welcomed) {
					welcomed = true;
					this.welcome(socket, frame, session, over);
				} else if (frame.type === "going_away") {
					this.retryAfterMs = Math.min(Number(frame.retryAfterMs) || 1000, 300000);
				} else if (this.socket === socket) this.on.frame(frame);
			},
			(code) => {
				clearTimeout(patience);
				if (this.socket !== socket && this.socket !== null) return; // an older socket, already replaced
				this.socket = null;
				clearTimeout(this.renewTimer);
				(socket.over ?? over)(code);
			},
		);
		const patience = setTimeout(() => welcomed || socket.close(), OPEN_MS);
	}

	/** Once subscribed, the socket becomes the connection; until then the older one serves. */
	async welcome(socket, frame, session, over) {
		try {
			await socket.request({ type: "subscribe", channel: session.channel });
		} catch (error) {
			if (error.message !== "closed") socket.close();
			return;
		}
		const old = this.socket;
		socket.over = over;
		this.socket = socket;
		if (old) setTimeout(() => old.close(), 1000); // its last requests may still be answered
		this.failures = 0;
		// The hub's clock tells how long the token lives; this device's clock may be wrong.
		session.endsAt = performance.now() + (session.expires_at - frame.serverTime) * 1000;
		this.renewLater(session, over);
		this.on.welcome(frame, session);
		if (session.telemetry_channel) {
			socket.request({ type: "subscribe", channel: session.telemetry_channel }).catch(() => {}); // the door works without it
		}
	}

	/** Before the token ends a second socket takes over, so that nobody sees this page leave. */
	renewLater(session, over) {
		const left = session.endsAt - performance.now();
		clearTimeout(this.renewTimer);
		if (!Number.isFinite(left)) return; // a token without an end
		this.renewTimer = setTimeout(async () => {
			try {
				const next = await this.newSession(session.token);
				if (!this.running || this.session !== session) return;
				this.session = next;
				this.openSocket(next, over);
			} catch {
				if (this.running && this.session === session) this.renewTimer = setTimeout(() => this.renewLater(session, over), 5000);
			}
		}, Math.min(Math.max(left * 0.8, left - 120000, 2000), 2 ** 31 - 1));
	}

	/** Resolves once the hub took it. */
	send(to, data) {
		return this.request({ type: "send", to, data });
	}

	async request(frame) {
		if (!this.socket) throw new Error("offline");
		return this.socket.request(frame);
	}
}
