// One WebRTC connection to a node: perfect negotiation, microphone on demand, rebuilt when it breaks.
// Payloads and roles as in the wire protocol: polite is the smaller peer id.

const OFFER_AFTER_MS = 1500; // a node offers by itself; one that does not by then is asked
const ANSWER_MS = 10000;
const LADDER_MS = [500, 1000, 2000, 4000, 8000, 15000];
const MAX_QUEUED_ICE = 64;

const fingerprint = (sdp) => /^a=fingerprint:(.*)$/m.exec(sdp ?? "")?.[1].trim() ?? null;

/** True for a payload that belongs to WebRTC and not to the application. */
export function isSignal(data) {
	return data?.type === "rtc-description" || data?.type === "rtc-ice" || typeof data?.__meteredTrackMeta === "object";
}

/** True for an offer with a node's stream in it: other peers' media is not for this page. */
export function offersNode(data) {
	return data?.type === "rtc-description" && /^a=(msid:|ssrc:\d+ msid:)node:/m.test(data.description?.sdp ?? "");
}

export class PeerLink {
	/** send(payload) gives a promise; onStream() when there is more to show in `stream`. */
	constructor({ me, remote, iceServers, send, onStream }) {
		Object.assign(this, { iceServers, send, onStream });
		this.polite = me < remote;
		this.stream = new MediaStream();
		this.micTrack = null;
		this.rebuilds = 0;
		this.closed = false;
		this.inbox = Promise.resolve();
		this.last = null;
		this.build();
		this.offerTimer = setTimeout(() => this.offerMedia(), OFFER_AFTER_MS);
	}

	// Life

	build() {
		clearTimeout(this.answerTimer);
		this.makingOffer = false;
		this.ignoreOffer = false;
		this.mayOffer = false; // until there is something to negotiate
		this.queuedIce = [];
		const pc = new RTCPeerConnection({ iceServers: this.iceServers, bundlePolicy: "max-bundle" });
		this.pc = pc;
		pc.ontrack = ({ track }) => this.addTrack(track);
		pc.onicecandidate = ({ candidate }) => this.tell({ type: "rtc-ice", candidate: candidate ? candidate.toJSON() : null });
		pc.onnegotiationneeded = () => this.mayOffer && this.offer(pc);
		pc.onconnectionstatechange = () => this.pc === pc && this.stateChanged();
	}

	addTrack(track) {
		for (const old of this.stream.getTracks()) if (old.kind === track.kind) this.stream.removeTrack(old);
		this.stream.addTrack(track);
		this.onStream();
	}

	stateChanged() {
		const state = this.pc.connectionState;
		if (state === "connected") this.rebuilds = 0;
		else if (state === "failed" || state === "closed") this.restart();
	}

	/** A broken connection is thrown away and offered anew, less and less often. */
	restart() {
		clearTimeout(this.offerTimer);
		const wait = LADDER_MS[Math.min(this.rebuilds, LADDER_MS.length - 1)];
		this.rebuilds += 1;
		this.offerTimer = setTimeout(() => {
			if (this.closed) return;
			this.replace();
			this.offerMedia();
		}, wait);
	}

	replace() {
		this.dispose();
		this.last = null;
		this.build();
	}

	dispose() {
		clearTimeout(this.answerTimer);
		Object.assign(this.pc, { ontrack: null, onicecandidate: null, onnegotiationneeded: null, onconnectionstatechange: null });
		this.pc.close();
	}

	close() {
		this.closed = true;
		clearTimeout(this.offerTimer);
		this.dispose();
	}

	tell(data) {
		if (!this.closed) this.send(data).catch(() => {}); // the other side, or the ladder, tries again
	}

	// Negotiation

	/** Asks for the node's media when it has not offered any. */
	async offerMedia() {
		const { pc } = this;
		if (this.closed || pc.signalingState !== "stable" || pc.remoteDescription) return;
		const video = pc.addTransceiver("video", { direction: "recvonly" });
		preferH264(video);
		pc.addTransceiver("audio", { direction: "recvonly" });
		await this.applyMic();
		this.mayOffer = true;
		this.offer(pc);
	}

	async offer(pc) {
		if (this.makingOffer || pc.signalingState !== "stable") return; // negotiationneeded fires again when stable
		try {
			this.makingOffer = true;
			await pc.setLocalDescription();
			this.describe(pc);
			clearTimeout(this.answerTimer);
			this.answerTimer = setTimeout(() => pc === this.pc && pc.signalingState === "have-local-offer" && this.restart(), ANSWER_MS);
		} catch (error) {
			console.warn("offer failed:", error.message);
		} finally {
			this.makingOffer = false;
		}
	}

	describe(pc) {
		if (pc !== this.pc) return;
		const { type, sdp } = pc.localDescription;
		this.announceMic(sdp);
		this.tell({ type: "rtc-description", description: { type, sdp } });
	}

	/** Takes one payload; they are handled one after the other, in the order of arrival. */
	receive(data) {
		this.inbox = this.inbox.then(() => this.handle(data)).catch((error) => console.warn("signal skipped:", error.message));
		return this.inbox;
	}

	async handle(data) {
		if (this.closed) return;
		if (data.type === "rtc-ice") await this.addIce(data.candidate);
		else if (data.type === "rtc-description") {
			const { type, sdp } = data.description ?? {};
			if (type === "offer" && typeof sdp === "string") await this.takeOffer({ type, sdp });
			else if (type === "answer" && typeof sdp === "string") await this.takeAnswer({ type, sdp });
		}
	}

	async takeOffer(description) {
		const print = fingerprint(description.sdp);
		const collision = this.makingOffer || this.pc.signalingState !== "stable";
		this.ignoreOffer = !print || (!this.polite && collision);
		if (this.ignoreOffer) return;
		clearTimeout(this.offerTimer);
		// Another DTLS fingerprint: a new session, which an existing connection cannot join.
		if (this.last && this.last !== print) this.replace();
		try {
			await this.pc.setRemoteDescription(description);
		} catch {
			this.replace();
			try {
				await this.pc.setRemoteDescription(description); // what an old connection refuses, a fresh one may take
			} catch (error) {
				this.restart();
				throw error;
			}
		}
		this.last = print;
		const { pc } = this;
		await this.applyMic();
		await pc.setLocalDescription();
		this.describe(pc);
		this.mayOffer = true;
		await this.flushIce();
	}

	async takeAnswer(description) {
		const { pc } = this;
		if (pc.signalingState !== "have-local-offer") return; // stale
		clearTimeout(this.answerTimer);
		if (this.last && this.last !== fingerprint(description.sdp)) {
			this.restart();
			return;
		}
		try {
			await pc.setRemoteDescription(description);
		} catch (error) {
			this.restart();
			throw error;
		}
		this.last = fingerprint(description.sdp);
		this.mayOffer = true;
		await this.flushIce();
		await this.applyMic();
	}

	async addIce(candidate) {
		if (!this.pc.remoteDescription) {
			if (this.queuedIce.length < MAX_QUEUED_ICE) this.queuedIce.push(candidate);
			return;
		}
		try {
			await this.pc.addIceCandidate(candidate ?? undefined);
		} catch (error) {
			if (!this.ignoreOffer) console.warn("candidate skipped:", error.message);
		}
	}

	async flushIce() {
		for (const candidate of this.queuedIce.splice(0)) await this.addIce(candidate);
	}

	// The microphone

	/** Sends this track to the node, or nothing (null). */
	async setMic(track) {
		this.micTrack = track;
		this.micStream = track ? new MediaStream([track]) : null;
		if (this.pc.remoteDescription) await this.applyMic();
	}

	/** Puts the wanted microphone on the audio line; a changed direction asks for a new offer. */
	async applyMic() {
		const { pc, micTrack } = this;
		const line = pc.getTransceivers().find((t) => t.receiver.track.kind === "audio" && t.direction !== "stopped");
		if (!line) {
			if (micTrack && pc.signalingState === "stable") pc.addTransceiver(micTrack, { direction: "sendrecv", streams: [this.micStream] });
			return;
		}
		if (line.sender.track !== micTrack) await line.sender.replaceTrack(micTrack);
		if (micTrack) line.sender.setStreams?.(this.micStream);
		const direction = micTrack ? "sendrecv" : "recvonly";
		if (line.direction !== direction) line.direction = direction;
	}

	/** Track metadata goes before the description that carries the track. */
	announceMic(sdp) {
		if (!this.micTrack) return;
		const section = sdp.split(/^m=/m).find((part) => part.startsWith("audio") && /^a=send(recv|only)/m.test(part));
		const msid = /^a=msid:(\S+) (\S+)/m.exec(section ?? "");
		if (!msid || msid[1] === "-") return;
		this.tell({ __meteredTrackMeta: { trackId: msid[2], streamId: msid[1], kind: "audio", metadata: { role: "microphone" } } });
	}

	// Statistics

	/** {connected, fps, kbps, lossPercent, rttMs, frames, level, sent}: since the last call; null: unknown. */
	async stats() {
		const { pc } = this;
		const report = await pc.getStats();
		const now = { at: performance.now(), bytes: 0, frames: 0, lost: 0, received: 0 };
		const result = { connected: pc.connectionState === "connected", fps: null, kbps: null, lossPercent: null, rttMs: null, frames: 0, level: null, sent: 0 };
		for (const s of report.values()) {
			if (s.type === "inbound-rtp") {
				now.bytes += s.bytesReceived ?? 0;
				now.lost += Math.max(0, s.packetsLost ?? 0);
				now.received += s.packetsReceived ?? 0;
				if (s.kind === "video") now.frames = s.framesDecoded ?? 0;
				else result.level = s.audioLevel ?? null;
			} else if (s.type === "outbound-rtp") result.sent += s.packetsSent ?? 0;
			else if (s.type === "candidate-pair" && s.nominated && s.currentRoundTripTime !== undefined) result.rttMs = s.currentRoundTripTime * 1000;
		}
		result.frames = now.frames;
		const before = this.counted?.pc === pc ? this.counted : null;
		if (before && now.at > before.at) {
			const seconds = (now.at - before.at) / 1000;
			result.fps = (now.frames - before.frames) / seconds;
			result.kbps = ((now.bytes - before.bytes) * 8) / 1000 / seconds;
			const lost = Math.max(0, now.lost - before.lost);
			const all = lost + Math.max(0, now.received - before.received);
			result.lossPercent = all ? (100 * lost) / all : null;
		}
		this.counted = { pc, ...now };
		return result;
	}
}

/** Nodes send H.264: name it first, where the browser lets us. */
function preferH264(transceiver) {
	const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
	const first = codecs.filter((c) => c.mimeType === "video/H264");
	if (first.length) transceiver.setCodecPreferences?.([...first, ...codecs.filter((c) => c.mimeType !== "video/H264")]);
}
