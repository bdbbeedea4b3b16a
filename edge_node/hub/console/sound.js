// The ring; the microphone with its level.

const RING_EVERY_S = 2;
const NOTES = [[0, 659.3], [0.28, 523.3], [0.56, 587.3], [0.84, 392]]; // seconds after the start, Hz

/** Sound needs a touch or a key first; until then `ready` is false. */
export class Sound {
	constructor(onReady) {
		this.onReady = onReady;
		this.context = null;
		this.timer = 0;
		this.nextAt = 0;
		const unlock = () => this.unlock();
		for (const event of ["pointerup", "keydown"]) window.addEventListener(event, unlock, { passive: true, capture: true });
	}

	get ready() {
		return this.context?.state === "running";
	}

	async unlock() {
		if (this.ready) return;
		try {
			this.context ??= new AudioContext({ latencyHint: "interactive" });
			await this.context.resume();
		} catch {
			return; // no sound device: the page still shows everything
		}
		this.onReady();
	}

	ring(on) {
		if (on && !this.timer) {
			this.nextAt = 0;
			this.timer = setInterval(() => this.schedule(), 250);
			this.schedule();
		} else if (!on && this.timer) {
			clearInterval(this.timer);
			this.timer = 0;
			this.gain?.gain.setTargetAtTime(0, this.context.currentTime, 0.05);
			this.gain = null;
		}
	}

	schedule() {
		if (!this.ready) return;
		const now = this.context.currentTime;
		if (!this.gain) {
			this.gain = this.context.createGain();
			this.gain.connect(this.context.destination);
			this.nextAt = now + 0.05;
		}
		if (now + 0.5 < this.nextAt) return;
		const start = Math.max(this.nextAt, now);
		for (const [after, hz] of NOTES) this.bell(start + after, hz);
		this.nextAt = start + RING_EVERY_S;
	}

	bell(at, hz) {
		for (const [times, loud] of [[1, 0.22], [2.01, 0.06]]) {
			const tone = this.context.createOscillator();
			const envelope = this.context.createGain();
			tone.frequency.value = hz * times;
			envelope.gain.setValueAtTime(0, at);
			envelope.gain.linearRampToValueAtTime(loud, at + 0.012);
			envelope.gain.exponentialRampToValueAtTime(0.0005, at + 0.9);
			tone.connect(envelope).connect(this.gain);
			tone.start(at);
			tone.stop(at + 0.95);
		}
	}
}

/** The microphone: asked for when a call begins, released when it ends. */
export class Microphone {
	constructor(sound, onState) {
		this.sound = sound;
		this.onState = onState; // off | asking | on | refused | insecure | missing
		this.wanted = false;
		this.track = null;
	}

	/** Resolves with the track, or null without one. */
	async open() {
		this.wanted = true;
		if (!navigator.mediaDevices?.getUserMedia) return this.fail(window.isSecureContext ? "missing" : "insecure");
		this.onState("asking");
		let stream;
		try {
			stream = await navigator.mediaDevices.getUserMedia({
				audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
			});
		} catch (error) {
			return this.fail(["NotAllowedError", "SecurityError"].includes(error.name) ? "refused" : "missing");
		}
		const [track] = stream.getAudioTracks();
		if (!this.wanted || this.track) {
			track.stop(); // the call ended while the person was asked
			return null;
		}
		this.track = track;
		track.onended = () => this.track === track && this.wanted && this.fail("missing");
		this.listen(stream);
		this.onState("on");
		return track;
	}

	fail(state) {
		this.track = null;
		if (this.wanted) this.onState(state);
		return null;
	}

	listen(stream) {
		const { context } = this.sound;
		if (!context) return;
		this.source = context.createMediaStreamSource(stream);
		this.analyser = context.createAnalyser();
		this.analyser.fftSize = 1024;
		this.source.connect(this.analyser);
	}

	mute(muted) {
		if (this.track) this.track.enabled = !muted;
	}

	/** dBFS of the last 20 ms, or null. */
	level() {
		if (!this.analyser || !this.track) return null;
		const samples = new Float32Array(this.analyser.fftSize);
		this.analyser.getFloatTimeDomainData(samples);
		const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
		return Math.max(-90, 10 * Math.log10(power + 1e-9));
	}

	close() {
		this.wanted = false;
		this.track?.stop();
		this.track = null;
		this.source?.disconnect();
		this.source = this.analyser = null;
		this.onState("off");
	}
}

/** dBFS to 0..1 for a meter: -60 dB is silence. */
export function meterLevel(dbfs) {
	return dbfs === null || !Number.isFinite(dbfs) ? 0 : Math.max(0, Math.min(1, (dbfs + 60) / 60));
}
