// A member of a channel that does what it is told; what makes and measures media comes from `media`.
export class Program {
  // sdk: the exports of @metered-ca/realtime; say(event, fields); options: factories for MeteredPeer.
  constructor(sdk, media, say, options = {}) {
    Object.assign(this, { sdk, media, say, options });
    this.channels = new Map();
    this.codec = null;
  }

  async command({ do: name, ...fields }) {
    try {
      await this[`do_${name}`](fields);
    } catch (error) {
      this.say("error", { where: name, text: String(error) });
    }
  }

  do_start({ url, token }) {
    const { say } = this;
    this.peer = new this.sdk.MeteredPeer({
      url,
      tokenProvider: async () => token,
      ...this.options,
      rtcPeerConnectionFactory: (config) => this.connection(config),
    });
    this.peer.on("state-change", ({ to }) => say("state", { state: to }));
    this.peer.on("peer-joined", ({ peer }) => this.watch(peer));
    this.peer.on("peer-left", ({ peer }) => say("left", { peer: peer.id }));
    this.peer.on("data", ({ senderPeerId, data, kind }) => say("data", { sender: senderPeerId, data, kind }));
    this.peer.on("error", ({ err }) => say("error", { where: "fatal", text: String(err) }));
  }

  // Makes the senders of a connection offer one codec only: the SDK has no option for it.
  connection(config) {
    const pc = this.media.connection(config);
    const addTrack = pc.addTrack.bind(pc);
    pc.addTrack = (track, ...streams) => {
      const sender = addTrack(track, ...streams);
      if (track.kind === "video" && this.codec) {
        const transceiver = pc.getTransceivers().find((t) => t.sender === sender);
        transceiver.setCodecPreferences(this.media.codecs("video").filter((c) => c.mimeType === `video/${this.codec}`));
      }
      return sender;
    };
    return pc;
  }

  async do_join({ channel }) { await this.peer.join(channel); }

  async do_publish({ kind, stream: id, metadata, hz, codec }) {
    if (kind === "video") this.codec = codec;
    const track = kind === "audio" ? this.media.tone(hz) : this.media.picture();
    const stream = this.media.stream(id, track);
    this.peer.addTrack(track, stream, metadata);
    this.say("published", { kind, stream: stream.id });
  }

  async do_send({ data }) { await this.peer.send(data); }

  async do_send_to({ peer, data }) { await this.peer.sendTo(peer, data); }

  do_open({ peer, label }) {
    const remote = this.peer.remotePeers.find((r) => r.id === peer);
    this.listen(remote.pc.createDataChannel(label));
  }

  async do_channel_send({ label, text }) { await this.channels.get(label).send(text); }

  async do_quit() {
    if (this.peer) await this.peer.close();
  }

  watch(remote) {
    const { say } = this;
    say("peer", { peer: remote.id, polite: remote.polite });
    remote.on("state-change", ({ to }) => say("connection", { state: to }));
    remote.on("track", ({ track, streams, metadata }) => {
      say("track", { kind: track.kind, streams: streams.map((s) => s.id), metadata: metadata ?? null });
      if (track.kind === "audio") this.media.hear(track, (hz) => say("heard", { hz }));
      else this.media.see(track, (found) => say("seen", { ...found, codec: codecOf(remote.pc) }));
    });
    remote.on("stream-added", ({ stream, metadata }) => say("stream", { stream: stream.id, metadata: metadata ?? null }));
    remote.on("data-channel", ({ channel }) => this.listen(channel));
    remote.on("negotiation-error", ({ err }) => say("error", { where: "negotiation", text: String(err) }));
    remote.on("ice-candidate-error", ({ err }) => say("error", { where: "candidate", text: String(err) }));
  }

  listen(raw) {
    const channel = new this.sdk.DataChannel(raw);
    this.channels.set(raw.label, channel);
    channel.on("open", () => this.say("channel", { label: raw.label }));
    channel.on("message", ({ data }) => this.say("channel_data", { label: raw.label, text: data }));
    if (channel.readyState === "open") this.say("channel", { label: raw.label });
  }
}

// The first video format of the local description: what the receiver chose.
function codecOf(pc) {
  const sdp = pc.localDescription.sdp;
  const format = /^m=video \d+ \S+ (\d+)/m.exec(sdp)[1];
  return new RegExp(`^a=rtpmap:${format} ([^/]+)/`, "m").exec(sdp)[1];
}

// The frequency of a pure tone from its rising zero crossings; 0 for silence.
export function frequencyHz(samples, rate) {
  let first = -1, last = -1, count = 0, peak = 0;
  for (let i = 1; i < samples.length; i++) {
    peak = Math.max(peak, Math.abs(samples[i]));
    if (samples[i - 1] < 0 && samples[i] >= 0) {
      if (first < 0) first = i; else count++;
      last = i;
    }
  }
  return peak < 0.003 || count < 2 ? 0 : Math.round((10 * count * rate) / (last - first)) / 10;
}

export const REPORT_EVERY_S = 0.4;
export const SIZE = { width: 320, height: 240 };
